// Tabs share one sign-in: whatever they do at the same time, its token is renewed once.
import type { Page, Request } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { PASSWORD, startServer, type Server } from '../server.js';
import { eventually, startBrowser, type Browser } from './browser.js';

/** Seconds that a token lasts. A client renews it when a fifth of that is left. */
const EXPIRY = 5;

let server: Server;
let browser: Browser;
let refreshes: Request[] = [];
beforeAll(async () => {
  server = await startServer([`--access_expiry=${EXPIRY}`]);
  await server.user('alice');
  browser = await startBrowser();
  browser.context.on('request', (request) => request.url().endsWith('/refresh') && refreshes.push(request));
});
afterAll(async () => {
  await browser.close();
  await server.stop();
});
beforeEach(() => {
  refreshes = [];
});
afterEach(async () => {
  for (const page of browser.context.pages()) await page.close();
  browser.errors.length = 0;
});

async function openTabs(count: number): Promise<Page[]> {
  const tabs: Page[] = [];
  for (let at = 0; at < count; at++) {
    const page = await browser.tab();
    tabs.push(page);
    await page.evaluate((url) => void window.broker.create({ url }), server.url);
  }
  await tabs[0]!.evaluate((password) => window.broker.client.signIn({ username: 'alice', password }), PASSWORD);
  for (const tab of tabs) {
    await eventually('the sign-in', () => tab.evaluate(() => window.broker.client.session.get().status === 'signed-in'));
  }
  return tabs;
}

/** All tabs ask for something at the same moment, some time from now. */
async function askAtOnce(tabs: Page[], inMs: number) {
  const at = Date.now() + inMs;
  const answers = tabs.map((tab) =>
    tab.evaluate(async (at) => {
      await new Promise((resolve) => setTimeout(resolve, at - Date.now()));
      return (await window.broker.client.sessions()).some(({ current }) => current);
    }, at),
  );
  return Promise.all(answers);
}

test('ten tabs whose token ends at once renew it once', async () => {
  const tabs = await openTabs(10);
  // It takes a while, so that all of them find the token too old before any has a newer one.
  await browser.context.route('**/refresh', async (route) => {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    await route.continue();
  });
  for (let round = 1; round <= 2; round++) {
    expect(await askAtOnce(tabs, EXPIRY * 1000 + 500)).toEqual(tabs.map(() => true));
    expect(refreshes).toHaveLength(round);
  }
  await browser.context.unroute('**/refresh');
  expect(browser.errors).toEqual([]);
});

test('tabs that share a stream stay signed in over many renewals, and each is told what happens', async () => {
  const tabs = await openTabs(3);
  for (const tab of tabs) {
    await tab.evaluate(() => {
      window.broker.listen('*');
      return window.broker.client.ready('*');
    });
  }
  await eventually('three renewals', async () => refreshes.length >= 3, 30_000);
  await tabs[2]!.evaluate(() => window.broker.client.insert('news', 1).then(() => {}));
  for (const tab of tabs) {
    await eventually('the news', () => tab.evaluate(() => window.broker.heard.some(({ event }) => event === 'news')));
  }
  expect(browser.errors).toEqual([]);
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
  expect(browser.errors).toEqual([]);
});
