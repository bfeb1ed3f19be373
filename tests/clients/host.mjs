// The test's end of a program. On standard input come lines of JSON: first what to sign in with, which is no matter for
// a command line, then what to insert. At the end of the input the program ends. Each report is a line of JSON.
import { fileURLToPath } from 'node:url';
import { createInterface } from 'node:readline';
import { build } from 'esbuild';

/** A user's program and the client that it uses in one module. */
export async function bundle(platform, program = 'user.mjs') {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL(program, import.meta.url))],
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

/** Signs in with the first line of the input, and inserts each of the others. */
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
