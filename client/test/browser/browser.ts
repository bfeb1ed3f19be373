// A real Chromium with pages that use the package: each has a client of its own, as tabs have.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { chromium, type BrowserContext, type Page } from 'playwright-core';
import { PATIENCE } from '../patience.js';

export function chromiumPath(): string {
  const folders = process.env.PATH!.split(delimiter);
  const paths = ['chromium', 'chromium-browser'].flatMap((name) => folders.map((folder) => join(folder, name)));
  const path = process.env.CHROMIUM ?? paths.find((path) => existsSync(path));
  if (!path) throw new Error('Chromium is missing: install it (tests/run.sh does), or set CHROMIUM to its path');
  return path;
}

export interface Browser {
  /** The pages' site. It is served under `localhost` and under `127.0.0.1`, which are two origins. */
  readonly site: string;
  readonly context: BrowserContext;
  /** Opens a tab with `window.broker` in it, and waits until that is there. */
  tab(path?: string): Promise<Page>;
  /** What pages have said on their consoles that no page should, and what they did not catch. */
  readonly errors: string[];
  close(): Promise<void>;
}

/** Serves the page of `page.ts`. Gives its address under `localhost`. */
export async function servePage(): Promise<{ url: string; close(): void }> {
  const entry = fileURLToPath(new URL('page.ts', import.meta.url));
  const built = await build({ entryPoints: [entry], bundle: true, write: false, format: 'esm', target: 'es2022' });
  const script = built.outputFiles[0]!.text;
  const site = createServer((request, response) => {
    const isScript = request.url === '/page.js';
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
    response.end(isScript ? script : '<!doctype html><link rel=icon href=data:,><script type=module src=/page.js></script>');
  }).listen(0, '127.0.0.1');
  await once(site, 'listening');
  return {
    url: `http://localhost:${(site.address() as AddressInfo).port}`,
    close() {
      site.close();
      site.closeAllConnections();
    },
  };
}

/**
 * Starts a browser, and a site that has the page of `page.ts`. Playwright's own start is not used: what it sets by default keeps pages
 * from being hidden, frozen, and kept for going back.
 */
export async function startBrowser(more: readonly string[] = []): Promise<Browser> {
  const site = await servePage();
  const { url } = site;
  const profile = mkdtempSync(join(tmpdir(), 'broker-chromium-'));
  const flags = ['gpu', 'quic', 'background-networking', 'component-update', 'sync'].map((name) => `--disable-${name}`);
  const own = [`--user-data-dir=${profile}`, '--headless', '--no-first-run', '--no-sandbox', '--remote-debugging-port=0'];
  const child = spawn(chromiumPath(), [...own, ...flags, ...more, 'about:blank'], { stdio: ['ignore', 'ignore', 'pipe'] });
  const endpoint = await new Promise<string>((resolve, reject) => {
    let log = '';
    child.once('exit', () => reject(new Error(`Chromium has ended:\n${log}`)));
    child.once('error', reject);
    child.stderr.on('data', (part) => {
      log += part;
      const found = /ws:\/\/\S+/.exec(log);
      if (found) resolve(found[0]);
    });
  });
  const browser = await chromium.connectOverCDP(endpoint, { noDefaults: true });
  const context = browser.contexts()[0]!;
  const errors: string[] = [];
  context.setDefaultTimeout(PATIENCE);
  context.on('page', (page) => {
    page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
    page.on('pageerror', (error) => errors.push(String(error.stack ?? error)));
  });

  return {
    site: url,
    context,
    errors,
    async tab(path = '/') {
      const page = await context.newPage();
      await page.goto(url + path);
      await page.waitForFunction(() => 'broker' in window);
      return page;
    },
    async close() {
      const gone = once(child, 'exit');
      const session = await browser.newBrowserCDPSession();
      await session.send('Browser.close').catch(() => {}); // It may be gone before it has answered.
      await gone;
      site.close();
      rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    },
  };
}

/** Freezes a tab as a browser does to save power, or wakes it again. */
export async function setFrozen(page: Page, isFrozen: boolean) {
  const session = await page.context().newCDPSession(page);
  await session.send('Page.setWebLifecycleState', { state: isFrozen ? 'frozen' : 'active' });
  await session.detach();
}

/** Asks until it is so: for what happens in another process, and says nothing when it does. */
export async function eventually<T>(what: string, look: () => Promise<T | undefined | false>, ms = PATIENCE): Promise<T> {
  const end = Date.now() + ms;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > end) throw new Error(`it did not come about: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
