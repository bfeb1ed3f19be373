// A page that has a network again, or is seen again, tries at once; and one whose stream lives keeps it, seen or not.
import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { startProxy, type Proxy } from '../proxy.js';
import { PASSWORD } from '../server.js';
import { eventually } from './browser.js';
import { setScene } from './scene.js';

const scene = setScene();

/** A tab that is signed in and live, beside another one that can hide it. */
async function open(): Promise<[page: Page, proxy: Proxy]> {
  const proxy = await startProxy(scene.server.port);
  await scene.browser.context.newPage();
  const page = await scene.browser.tab();
  await page.evaluate(
    async ([url, username, password]) => {
      const client = window.broker.create({ url: url!, auth: { storage: 'memory' } });
      await client.signIn({ username: username!, password: password! });
      window.broker.listen('*');
      await client.ready('*');
    },
    [proxy.url, scene.alice, PASSWORD],
  );
  await show(page, 'visible');
  return [page, proxy];
}

const connection = (page: Page) => page.evaluate(() => window.broker.client.connection.get());

/** The page is hidden behind another one, or seen again. */
async function show(page: Page, state: DocumentVisibilityState) {
  await eventually(`it is ${state}`, async () => {
    await (state === 'visible' ? page : scene.browser.context.pages().find((other) => other !== page)!).bringToFront();
    return page.evaluate((state) => document.visibilityState === state, state);
  });
}

const WAKES: Record<string, [begin: (page: Page) => Promise<unknown>, end: (page: Page) => Promise<unknown>]> = {
  'has a network again': [() => scene.browser.context.setOffline(true), () => scene.browser.context.setOffline(false)],
  'is seen again': [(page) => show(page, 'hidden'), (page) => show(page, 'visible')],
};

for (const [what, [begin, end]] of Object.entries(WAKES)) {
  test(`a page that ${what} does not wait any longer`, async () => {
    const [page, proxy] = await open();
    // The server has no place for a stream, and says when to ask again: a wait that no test sits out.
    const headers = { 'access-control-allow-origin': '*', 'access-control-expose-headers': 'retry-after', 'retry-after': '3600' };
    await page.route('**/sse?*', (route) => route.fulfill({ status: 503, headers, json: { error: 'later', code: 'busy' } }));
    proxy.cut();
    await eventually('a long wait', async () => (await connection(page)).reason === 'busy');
    expect((await connection(page)).retryAt).toBeGreaterThan(Date.now() + 600_000);
    await begin(page);
    await page.unroute('**/sse?*');
    expect((await connection(page)).state).toBe('waiting');
    await end(page);
    await eventually('a live stream', async () => (await connection(page)).state === 'live');
  });
}

test('a page that is hidden and seen again keeps its stream', async () => {
  const [page, proxy] = await open();
  const states = page.evaluate(
    () =>
      new Promise<string[]>((resolve) => {
        const { client } = window.broker;
        const states: string[] = [];
        client.connection.subscribe(() => states.push(client.connection.get().state));
        client.on('end', () => resolve(states));
      }),
  );
  for (let at = 0; at < 6; at++) for (const state of ['hidden', 'visible'] as const) await show(page, state);
  await scene.server.as(scene.token, '/insert', { event: 'end', data: 1 });
  expect(await states).toEqual([]);
  expect(proxy.streams).toBe(1);
});
