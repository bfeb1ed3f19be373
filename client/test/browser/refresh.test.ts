// Tabs share one sign-in: whatever they do at the same time, its token is renewed once.
import type { Page, Request } from 'playwright-core';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { PASSWORD } from '../server.js';
import { eventually } from './browser.js';
import { setScene } from './scene.js';

const scene = setScene();
let refreshes: Request[] = [];
beforeAll(() => {
  scene.browser.context.on('request', (request) => request.url().endsWith('/refresh') && refreshes.push(request));
});
beforeEach(() => {
  refreshes = [];
});

/**
 * Pages are told that the tokens of this path last so many seconds. The server takes them far longer, so that it does not matter how
 * late a slow machine renews them.
 */
async function letLast(path: '/login' | '/refresh', expires_in: number) {
  await scene.browser.context.route(`**${path}`, async (route) => {
    const reply = await route.fetch();
    await route.fulfill({ response: reply, json: { ...(await reply.json()), expires_in } });
  });
}

async function openTabs(count: number): Promise<Page[]> {
  const tabs: Page[] = [];
  for (let at = 0; at < count; at++) {
    const page = await scene.browser.tab();
    tabs.push(page);
    await page.evaluate((url) => void window.broker.create({ url }), scene.server.url);
  }
  const credentials = { username: scene.alice, password: PASSWORD };
  await tabs[0]!.evaluate((credentials) => window.broker.client.signIn(credentials), credentials);
  for (const tab of tabs) {
    await eventually('the sign-in', () => tab.evaluate((user) => window.broker.client.session.get().user === user, scene.alice));
  }
  return tabs;
}

/** Another page takes the lock of the renewal, and keeps it until it is told to `release` it. */
async function holdLock(): Promise<Page> {
  const other = await scene.browser.tab();
  await other.evaluate(
    () =>
      new Promise<void>((locked) => {
        const held = new Promise((release) => Object.assign(window, { release }));
        // The lock has the name under which the sign-in is kept.
        void navigator.locks.request(Object.keys(localStorage)[0]!, () => (locked(), held));
      }),
  );
  return other;
}

/**
 * Each of ten tabs asks for something, and finds that the token has ended before any of them has a newer one: the lock of the renewal is
 * taken by another page until all of them have asked.
 */
async function tenAskAtOnce(tabs: Page[]) {
  const other = await holdLock();
  // A token that lasts a second is too old then, and the next is another one: those that are given in the same second are the same.
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const answers = tabs.map((tab) =>
    tab.evaluate(async () => {
      // However long it takes until all have asked, nobody loses patience.
      AbortSignal.timeout = () => new AbortController().signal;
      return (await window.broker.client.sessions()).some(({ current }) => current);
    }),
  );
  const waiting = () => other.evaluate(async () => (await navigator.locks.query()).pending!.length);
  await eventually('ten that wait', async () => refreshes.length > 0 || (await waiting()) === tabs.length);
  expect(refreshes).toHaveLength(0);
  await other.evaluate(() => (window as unknown as { release(): void }).release());
  expect(await Promise.all(answers)).toEqual(tabs.map(() => true));
}

test('ten tabs whose token is too old at once renew it once', async () => {
  await letLast('/login', 1);
  const tabs = await openTabs(10);
  await tenAskAtOnce(tabs);
  expect(refreshes).toHaveLength(1);
  expect(scene.browser.errors).toEqual([]);
});

test('ten tabs whose token is refused at once renew it once', async () => {
  const tabs = await openTabs(10);
  let first: string | undefined;
  await scene.browser.context.route('**/sessions', async (route) => {
    const { authorization } = await route.request().allHeaders();
    first ??= authorization;
    if (authorization !== first) return route.continue();
    const headers = { 'access-control-allow-origin': '*' };
    await route.fulfill({ status: 401, headers, json: { error: 'the token has expired', code: 'unauthorized' } });
  });
  await tenAskAtOnce(tabs);
  expect(refreshes).toHaveLength(1);
  // The browser itself logs each refusal.
  expect(scene.browser.errors).toEqual(tabs.map(() => expect.stringContaining('401')));
});

test('a page that never gives the lock back keeps no other from renewing', async () => {
  await letLast('/login', 1);
  const [tab] = await openTabs(1);
  await holdLock();
  const asked = await tab!.evaluate(async () => {
    const asked: number[] = [];
    const { timeout } = AbortSignal;
    AbortSignal.timeout = (ms) => {
      asked.push(ms);
      return timeout.call(AbortSignal, 100);
    };
    // The token is too old after a second.
    while (!asked.length) await window.broker.client.sessions();
    return asked;
  });
  expect(refreshes).toHaveLength(1);
  // It would have waited as long as another page may take, and not so long that the server takes a token for stolen.
  expect(Math.max(...asked)).toBeLessThan(10_000);
  expect(scene.browser.errors).toEqual([]);
});

test('tabs that share a stream stay signed in over many renewals, and each is told what happens', async () => {
  for (const path of ['/login', '/refresh'] as const) await letLast(path, 3);
  const tabs = await openTabs(3);
  for (const tab of tabs) {
    await tab.evaluate(() => {
      window.broker.listen('*');
      return window.broker.client.ready('*');
    });
  }
  await eventually('three renewals', async () => refreshes.length >= 3);
  await tabs[2]!.evaluate(() => window.broker.client.insert('news', 1).then(() => {}));
  for (const tab of tabs) {
    await eventually('the news', () => tab.evaluate(() => window.broker.heard.some(({ event }) => event === 'news')));
  }
  const streams = await Promise.all(tabs.map((tab) => tab.evaluate(() => window.broker.requests.filter((path) => path === '/sse').length)));
  expect(streams.filter(Boolean)).toEqual([1]);
  expect(scene.browser.errors).toEqual([]);
});

test('a sign-out in one tab is one in all of them', async () => {
  const tabs = await openTabs(3);
  for (const tab of tabs) {
    await tab.evaluate(() => {
      window.broker.listen('*');
      return window.broker.client.ready('*');
    });
  }
  await tabs[1]!.evaluate(() => window.broker.client.signOut());
  for (const tab of tabs) {
    await eventually('the end', () => tab.evaluate(() => window.broker.client.session.get().status === 'signed-out'));
    await eventually('its stream', () => tab.evaluate(() => !window.broker.isReading));
    expect(await tab.evaluate(() => window.broker.client.connection.get())).toMatchObject({ state: 'stopped', reason: 'signed-out' });
  }
  expect(scene.browser.errors).toEqual([]);
});
