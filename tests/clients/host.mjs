// Connects a program with its test. The standard input has lines of JSON: first the sign-in settings, because a password must
// not be on a command line, then the inserts. At the end of the input the program ends. Each report is a line of JSON on
// the standard output.
import { fileURLToPath } from 'node:url';
import { createInterface } from 'node:readline';
import { build } from 'esbuild';

/** Bundles a user's program and its client library into one module: broker-client 0.0.8, or the drop-in if DROP_IN says so. */
export async function bundle(platform, program = 'user.mjs') {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL(program, import.meta.url))],
    alias: process.env.DROP_IN ? {} : { 'broker-client': 'broker-client-0.0.8' },
    bundle: true,
    format: 'esm',
    platform,
    write: false,
  });
  return outputFiles[0].text;
}

export function report(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** Signs in with the first line of the input, and inserts every further line. */
export async function obey(signIn) {
  let insert;
  for await (const line of createInterface({ input: process.stdin })) {
    const order = JSON.parse(line);
    try {
      if (insert) await insert(order.event, order.data);
      else insert = await signIn(order);
    } catch (error) {
      report({ report: 'failed', error: error.message });
    }
  }
}
