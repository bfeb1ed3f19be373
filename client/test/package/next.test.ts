// Guards the package in an app of Next: a page is rendered on a server with the events that were read for it, and goes on live.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openPages, type Pages } from '../examples/site.js';
import { PATIENCE } from '../patience.js';
import { PASSWORD, type Server, startServer } from '../server.js';
import { CLIENT, PACKED } from './project.js';

const run = promisify(execFile);
const APP = join(CLIENT, 'test/next');
const NEXT = join(APP, 'node_modules/next/dist/bin/next');
let server: Server;
let token: string;
let app: ChildProcess | undefined;
let pages: Pages | undefined;

beforeAll(async () => {
  const installed = join(APP, 'node_modules/broker-client');
  const folder = mkdtempSync(join(tmpdir(), 'broker-next-'));
  rmSync(installed, { recursive: true, force: true });
  mkdirSync(installed);
  await run('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', folder], { cwd: CLIENT });
  await run('tar', ['-xzf', join(folder, PACKED), '-C', installed, '--strip-components=1']);
  rmSync(folder, { recursive: true });
  server = await startServer();
  await server.user('alice');
  token = await server.token('alice');
  await server.as(token, '/insert', { event: 'todo/1', data: 'milk' });
});

afterAll(async () => {
  await pages?.close();
  if (app?.exitCode === null) {
    app.kill();
    await once(app, 'exit');
  }
  await server?.stop();
});

it('is built, rendered by a server, taken over without a difference, and goes on live', async () => {
  const env = { ...process.env, NODE_ENV: 'production', NEXT_TELEMETRY_DISABLED: '1', BROKER_URL: server.url, BROKER_TOKEN: token } as const;
  await run(process.execPath, [NEXT, 'build'], { cwd: APP, env });
  app = spawn(process.execPath, [NEXT, 'start', '--port', '0', '--hostname', '127.0.0.1'], { cwd: APP, env, stdio: ['ignore', 'pipe', 'inherit'] });
  let url = '';
  for await (const line of createInterface(app.stdout!)) {
    url = /http:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0] ?? url;
    if (url) break;
  }
  const html = await (await fetch(url)).text();
  expect(html).toContain('<p>unknown: milk</p>');

  pages = await openPages(url);
  const page = await pages.open();
  await page.getByText('signed-out: milk').waitFor();
  await page.fill('[name=username]', 'alice');
  await page.fill('[name=password]', PASSWORD);
  await page.getByRole('button').click();
  await page.getByText('signed-in: milk').waitFor();
  await server.as(token, '/insert', { event: 'todo/2', data: 'bread' });
  await page.getByText('signed-in: milk,bread').waitFor();
  expect(pages.errors).toEqual([]);
}, 5 * PATIENCE);
