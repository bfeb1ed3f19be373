// Opens a page of the documentation in headless Chromium. The arguments are a directory, which is served to the browser, and
// the file to open. If the browser reports an error, it is printed on the standard error and the exit status is 1.
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { basename, extname, join } from 'node:path';
import { launch } from './chromium.mjs';

const [directory, file] = process.argv.slice(2);
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.css': 'text/css' };

const site = createServer(async (request, response) => {
  const name = basename(new URL(request.url, 'http://site').pathname);
  // Browsers request it for every page.
  if (name === 'favicon.ico') return response.writeHead(204).end();
  try {
    const body = await readFile(join(directory, name));
    response.setHeader('content-type', TYPES[extname(name)] ?? 'application/octet-stream').end(body);
  } catch {
    response.writeHead(404).end();
  }
}).listen(0, '127.0.0.1');
await once(site, 'listening');

const browser = await launch();
const page = await browser.newPage();
const error = (...words) => {
  console.error(...words);
  process.exitCode = 1;
};
page.on('console', (message) => message.type() === 'error' && error('console:', message.text(), message.location().url));
page.on('pageerror', ({ message }) => error('uncaught:', message));
page.on('requestfailed', (request) => error('failed:', request.url(), request.failure()?.errorText));
page.on('response', (response) => response.status() >= 400 && error(response.status(), response.url()));
await page.goto(`http://localhost:${site.address().port}/${file}`);
// A page with an event stream never becomes idle, so this waits until its start is over.
await page.waitForTimeout(500);
await browser.close();
site.close();
