// Guards `broker-client types` as a command line: what it writes, how it ends, and that no secret need stand in its arguments.
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { main } from '../../src/cli/index.js';
import { freePort, type Server, startServer } from '../server.js';

let server: Server;
let token: string;
let folder: string;
let file: string;

beforeAll(async () => {
  server = await startServer();
  await server.user('alice');
  token = await server.token('alice');
  await server.as(token, '/insert', { event: 'title', data: 'Shopping' });
  const todos = Array.from({ length: 1000 }, (_, n) => ({ event: `todo/${n}`, data: { title: 'x', ...(n === 999 && { done: true }) } }));
  await server.as(token, '/insert', todos);
  folder = mkdtempSync(join(tmpdir(), 'broker-types-'));
  file = join(folder, 'events.d.ts');
});

afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await server?.stop();
});

async function run(args: string[], { env = {}, input = '' }: { env?: Record<string, string>; input?: string } = {}) {
  const said = { out: '', err: '', status: 0 };
  said.status = await main(args, {
    env,
    input: async () => input,
    say: (text) => (said.out += text),
    tell: (line) => (said.err += `${line}\n`),
  });
  return said;
}

const TEXT = `// Made by "broker-client types" from the latest events. Do not edit it: run the command again.

export interface Events {
  title: string;
  [name: \`todo/\${string}\`]: Todo;
}

export interface Todo {
  done?: boolean;
  title: string;
}
`;

it('writes the types of all latest events, of more than one page', async () => {
  const { status, out, err } = await run(['types', '--url', server.url, '--token', token, '--out', file]);
  expect({ status, out, err }).toEqual({ status: 0, out: '', err: `${file}: 1 names and 1 patterns\n` });
  expect(readFileSync(file, 'utf8')).toBe(TEXT);
});

it('takes the server and the token from the environment, and the token from standard input', async () => {
  const env = { BROKER_URL: `${server.url}/`, BROKER_TOKEN: token };
  expect(await run(['types', '--out', '-'], { env })).toEqual({ status: 0, out: TEXT, err: '' });
  const piped = await run(['types', '--out', '-', '--token', '-'], { env: { BROKER_URL: server.url }, input: `${token}\n` });
  expect(piped.out).toBe(TEXT);
});

it('does not touch a file that stays the same', async () => {
  const args = ['types', '--url', server.url, '--token', token, '--out', file, '--json'];
  await run(args);
  const before = statSync(file, { bigint: true }).mtimeNs;
  const { out } = await run(args);
  expect(JSON.parse(out)).toEqual({ file, changed: false, names: 1, patterns: 1 });
  expect(statSync(file, { bigint: true }).mtimeNs).toBe(before);
});

it('only checks with --check', async () => {
  const args = ['types', '--url', server.url, '--token', token, '--out', file, '--check'];
  writeFileSync(file, TEXT);
  expect(await run(args)).toMatchObject({ status: 0 });
  writeFileSync(file, 'other');
  expect(await run(args)).toMatchObject({ status: 1, err: expect.stringContaining('not up to date') });
  expect(readFileSync(file, 'utf8')).toBe('other');
  rmSync(file);
  expect(await run(args)).toMatchObject({ status: 1 });
});

it('reads only what --events names', async () => {
  const { out } = await run(['types', '--url', server.url, '--token', token, '--out', '-', '--events', 'title']);
  expect(out).toContain('title: string');
  expect(out).not.toContain('todo');
});

it.each<[string[], Record<string, string>, number, string]>([
  [[], {}, 2, 'a command is missing'],
  [['typs'], {}, 2, 'there is no command typs'],
  [['types'], {}, 2, 'the server is missing'],
  [['types', '--url', 'http://localhost'], {}, 2, 'a token is missing'],
  [['types', '--url', 'localhost:8080', '--token', 'x'], {}, 2, 'begins with neither'],
  [['types', '--url', 'http://a:b@localhost', '--token', 'x'], {}, 2, 'must not have a password'],
  [['types', '--nonsense'], {}, 2, 'nonsense'],
  [['types', '--url', 'http://localhost', '--token', 'a b'], {}, 2, 'characters that no token has'],
])('ends with 2 for a wrong usage: %j', async (args, env, status, message) => {
  expect(await run(args, { env })).toMatchObject({ status, err: expect.stringContaining(message) });
});

it('ends with 3 if it is not signed in, and with 6 if there is no server', async () => {
  const refused = await run(['types', '--url', server.url, '--token', 'eyJ', '--json']);
  expect(refused.status).toBe(3);
  expect(JSON.parse(refused.out)).toMatchObject({ code: 'unauthorized' });
  const url = `http://127.0.0.1:${await freePort()}`;
  expect(await run(['types', '--url', url, '--token', 'x'])).toMatchObject({ status: 6, err: expect.stringContaining('cannot be reached') });
});

it('shows nothing that would move the cursor, and takes nothing from another server', async () => {
  const answers = createServer((request, response) => {
    if (request.url?.startsWith('/elsewhere')) response.writeHead(302, { location: `${server.url}/events` }).end();
    else if (request.url?.startsWith('/page')) response.end('<p>hello');
    else response.writeHead(404).end(JSON.stringify({ error: '\u001b[2Jgone', code: 'not_found' }));
  }).listen(0, '127.0.0.1');
  await new Promise((done) => answers.once('listening', done));
  const url = `http://127.0.0.1:${(answers.address() as AddressInfo).port}`;
  const at = (path: string) => run(['types', '--url', url + path, '--token', token, '--out', '-']);
  expect(await at('')).toMatchObject({ status: 4, err: 'broker-client:  [2Jgone\n' });
  expect(await at('/elsewhere')).toMatchObject({ status: 6, out: '' });
  expect(await at('/page')).toMatchObject({ status: 1, err: expect.stringContaining('is this Broker?') });
  answers.close();
});

it.each(['[]', '{}', 'null', '{"events":[],"next":"x"}'])('ends if %s answers, which is not Broker', async (answer) => {
  const other = createServer((_, reply) => reply.end(answer));
  await new Promise<void>((done) => other.listen(0, '127.0.0.1', done));
  const url = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
  expect(await run(['types', '--url', url, '--token', 'x', '--out', '-'])).toMatchObject({ status: 1, err: expect.stringContaining('Broker') });
  other.close();
});

it('explains itself', async () => {
  expect(await run(['types', '--help'])).toMatchObject({ status: 0, out: expect.stringContaining('--check') });
});
