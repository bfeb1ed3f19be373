// Serves the files of an example, and opens them in Chromium, each page in a browser profile of its own.
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { chromiumPath } from '../browser/browser.js';
import { PATIENCE } from '../patience.js';

const TYPES: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };

export interface Pages {
  /** Opens the page in a new profile. */
  open(): Promise<Page>;
  /** What a page has thrown, or has logged as an error. A server that is away is logged by the browser itself, and left out. */
  readonly errors: string[];
  close(): Promise<void>;
}

/** Opens pages of a site in Chromium. */
export async function openPages(url: string): Promise<Pages> {
  const browser: Browser = await chromium.launch({
    executablePath: chromiumPath(),
    chromiumSandbox: false,
    args: ['gpu', 'quic', 'background-networking', 'component-update', 'sync'].map((name) => `--disable-${name}`),
  });
  const errors: string[] = [];
  return {
    errors,
    async open() {
      const context = await browser.newContext({ viewport: { width: 640, height: 560 } });
      const page = await context.newPage();
      page.setDefaultTimeout(PATIENCE);
      page.on('pageerror', (error) => errors.push(`uncaught: ${error.stack ?? error}`));
      page.on('console', (message) => {
        const isAway = /net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|INCOMPLETE_CHUNKED_ENCODING|EMPTY_RESPONSE)/.test(message.text());
        if (['error', 'warning'].includes(message.type()) && !isAway) errors.push(message.text());
      });
      await page.goto(url);
      return page;
    },
    close: () => browser.close(),
  };
}

/** Serves a folder, and opens its page. */
export async function openSite(folder: string): Promise<Pages> {
  const files = createServer(async (request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://site');
    const path = pathname.endsWith('/') ? `${pathname}index.html` : pathname;
    try {
      const body = await readFile(join(folder, path));
      response.setHeader('content-type', TYPES[extname(path)] ?? 'application/octet-stream').end(body);
    } catch {
      response.writeHead(404).end();
    }
  }).listen(0, '127.0.0.1');
  await once(files, 'listening');
  const pages = await openPages(`http://127.0.0.1:${(files.address() as AddressInfo).port}/`);
  return {
    ...pages,
    async close() {
      await pages.close();
      files.close();
      files.closeAllConnections();
    },
  };
}

/** Keeps a picture of a page, if the variable SCREENSHOTS names a folder for them. */
export async function picture(page: Page, name: string): Promise<void> {
  const folder = process.env.SCREENSHOTS;
  if (folder) await page.screenshot({ path: join(folder, `${name}.png`) });
}
