// `broker-client types`: writes the TypeScript types of a tenant's events, from the latest events.
import { readFile, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { eventsFile } from './events-file.js';
import { EXIT, Exit } from './exit.js';
import { latestEvents } from './latest.js';

export const HELP = `Usage: broker-client types --url <url> [--token <token>]

Writes events.d.ts, the TypeScript types of a tenant's events, from their latest events.

  --url <url>       the server, such as http://localhost:8080; else BROKER_URL
  --token <token>   the token of a user, as /login answers it; else BROKER_TOKEN; - reads it from standard input
  --events <list>   only these names and prefixes, such as 'todo/*,news'
  --out <file>      the file, events.d.ts by default; - writes to standard output
  --check           write nothing, and end with 1 if the file is not what would be written
  --json            say in JSON what was done

Exit status: 0 done, 1 failed or not up to date, 2 wrong usage, 3 not signed in, 4 not found, 5 conflict, 6 unreachable
`;

/** What a command needs of its surroundings. */
export interface Surroundings {
  env: Record<string, string | undefined>;
  /** Reads all of standard input. */
  input(): Promise<string>;
  /** Writes to standard output. */
  say(text: string): void;
  /** Writes a line to standard error. */
  tell(line: string): void;
}

export async function types(args: string[], { env, input, say, tell }: Surroundings): Promise<void> {
  const flags = parse(args);
  if (flags.help) return say(HELP);
  const url = checkedUrl(flags.url ?? env.BROKER_URL);
  const given = flags.token ?? env.BROKER_TOKEN;
  const token = (given === '-' ? await input() : given)?.trim();
  if (!token) throw new Exit(EXIT.usage, 'a token is missing: set BROKER_TOKEN, or pipe it to --token -', 'usage');
  if (!/^[\x21-\x7e]+$/.test(token)) throw new Exit(EXIT.usage, 'the token has characters that no token has', 'usage');
  const file = flags.out ?? 'events.d.ts';
  if (flags.check && file === '-') throw new Exit(EXIT.usage, '--check compares a file: name one with --out', 'usage');

  const { text, names, patterns } = eventsFile(await latestEvents(url, token, flags.events));
  if (file === '-') {
    say(flags.json ? `${JSON.stringify({ text, names, patterns })}\n` : text);
    return;
  }
  const changed = (await readIfThere(file)) !== text;
  if (changed && flags.check) throw new Exit(EXIT.failed, `${file} is not up to date: run "broker-client types" again`, 'changed');
  // A file that stays the same is not touched, so that nothing that watches it runs again.
  if (changed) await writeFile(file, text);
  if (flags.json) say(`${JSON.stringify({ file, changed, names, patterns })}\n`);
  else tell(`${file}: ${names} names and ${patterns} patterns${changed ? '' : ', unchanged'}`);
}

function parse(args: string[]) {
  const string = { type: 'string' } as const;
  const boolean = { type: 'boolean' } as const;
  const options = {
    url: string,
    token: string,
    events: string,
    out: string,
    check: boolean,
    json: boolean,
    help: { type: 'boolean', short: 'h' },
  } as const;
  try {
    return parseArgs({ args, options, allowPositionals: false }).values;
  } catch (error) {
    throw new Exit(EXIT.usage, (error as Error).message, 'usage');
  }
}

function checkedUrl(text: string | undefined): string {
  if (!text) throw new Exit(EXIT.usage, 'the server is missing: use --url, or set BROKER_URL', 'usage');
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new Exit(EXIT.usage, `${text} is no URL`, 'usage');
  }
  if (!/^https?:$/.test(url.protocol)) throw new Exit(EXIT.usage, `${text} begins with neither http:// nor https://`, 'usage');
  if (url.username || url.password) throw new Exit(EXIT.usage, 'a URL must not have a password: use BROKER_TOKEN', 'usage');
  return (url.origin + url.pathname).replace(/\/+$/, '');
}

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
