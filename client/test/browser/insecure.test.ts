// Pages that are no secure context, as `http://192.168.1.2` is none: they have no locks, and each does for itself what tabs share elsewhere.
import type { APIResponse, Page, Route } from 'playwright-core';
import { expect, test } from 'vitest';
import { PASSWORD } from '../server.js';
import { eventually } from './browser.js';
import { setScene } from './scene.js';

const HOST = 'broker.test';
const admin_token = 'the token of an administrator';

const scene = setScene({
  // What every machine of a network may ask has secrets of its own.
  serverFlags: ['--host=127.0.0.1', `--admin_token=${admin_token}`, '--jwt_secret=a secret that nobody else knows of'],
  browserFlags: [`--host-resolver-rules=MAP ${HOST} 127.0.0.1`],
  user: { admin_token },
});

/** Two tabs in which alice is signed in, with an outbox. */
async function openTabs(): Promise<Page[]> {
  const tabs: Page[] = [];
  for (let at = 0; at < 2; at++) {
    const page = await scene.browser.context.newPage();
    tabs.push(page);
    await page.goto(scene.browser.site.replace('localhost', HOST));
    await page.waitForFunction(() => 'broker' in window);
    expect(await page.evaluate(() => [isSecureContext, 'locks' in navigator])).toEqual([false, false]);
    await page.evaluate(
      async ([url, username, password]) => {
        const client = window.broker.create({ url: url!, isKept: true });
        if (client.session.get().user !== username) await client.signIn({ username: username!, password: password! });
        window.broker.listen('*');
        await client.ready('*');
      },
      [scene.server.url.replace('127.0.0.1', HOST), scene.alice, PASSWORD],
    );
  }
  return tabs;
}

test('each tab reads a stream of its own, and sends what waits once and in order', async () => {
  const tabs = await openTabs();
  for (const tab of tabs) expect(await tab.evaluate(() => window.broker.isReading)).toBe(true);
  const ROWS = [0, 1, 2, 3, 4];
  await Promise.all(
    tabs.map((tab, at) =>
      tab.evaluate(
        async ([at, rows]) => {
          const handles = [];
          for (const row of rows) handles.push(await window.broker.client.outbox!.enqueue(`todo/${at}`, row));
          await Promise.all(handles.map(({ done }) => done));
        },
        [at, ROWS] as const,
      ),
    ),
  );
  for (const at of tabs.keys()) {
    const { events } = await scene.server.as(scene.token, `/history?event=todo/${at}&order=oldest`);
    expect(events.map(({ data }: { data: unknown }) => data)).toEqual(ROWS);
  }
  for (const tab of tabs) {
    await eventually('all of both', () => tab.evaluate(() => window.broker.heard.length >= 10));
    expect(await tab.evaluate(() => window.broker.heard.length)).toBe(10);
  }
  expect(scene.browser.errors).toEqual([]);
});

test('tabs that renew the token at the same time both stay signed in, and go on with its successor', async () => {
  const tabs = await openTabs();
  const used: string[][] = [[], []];
  const answers: { route: Route; response: APIResponse; successor?: string }[] = [];
  let round = 0;
  await scene.browser.context.route('**/refresh', async (route) => {
    used[round]!.push(route.request().postDataJSON().refresh_token);
    if (round) return route.continue();
    const response = await route.fetch({ url: `${scene.server.url}/refresh` });
    answers.push({ route, response, successor: (await response.json()).refresh_token });
    // Both have asked before either is answered, and who gets no successor is answered when the other one has stored it.
    if (answers.length < 2) return;
    const [first, last] = answers.sort(({ successor }) => (successor ? -1 : 1));
    await first!.route.fulfill({ response: first!.response });
    const isStored = (token: string) => JSON.stringify(localStorage).includes(token);
    for (const tab of tabs) await eventually('the successor in the storage', () => tab.evaluate(isStored, first!.successor!));
    await last!.route.fulfill({ response: last!.response });
  });
  /** Each tab is told once that its token is none, and asks for another one. */
  const refuseBoth = async () => {
    const refused = new Set<Page>();
    await scene.browser.context.route('**/me', async (route) => {
      const tab = route.request().frame().page();
      if (refused.has(tab)) return route.continue();
      refused.add(tab);
      const headers = { 'access-control-allow-origin': '*' };
      await route.fulfill({ status: 401, headers, json: { error: 'the token has expired', code: 'unauthorized' } });
    });
    const users = await Promise.all(tabs.map((tab) => tab.evaluate(() => window.broker.client.me().then(({ username }) => username))));
    expect(users).toEqual([scene.alice, scene.alice]);
    await scene.browser.context.unroute('**/me');
  };
  await refuseBoth();
  round = 1;
  await refuseBoth();
  const [first, second] = used;
  expect(first).toHaveLength(2);
  expect(new Set(first).size).toBe(1);
  expect(second!.length).toBeGreaterThan(0);
  // A refresh token that is used later ends the session.
  expect(second).not.toContain(first![0]);
  for (const tab of tabs) expect(await tab.evaluate(() => window.broker.client.session.get().status)).toBe('signed-in');
  const sessions = await tabs[0]!.evaluate(() => window.broker.client.sessions());
  expect(sessions).toHaveLength(1);
});
