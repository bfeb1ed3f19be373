// The outbox and the cache in a real browser, with its own database: what is kept survives its tab, is sent once and in order, and is
// nobody else's.
import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { PATIENCE } from '../patience.js';
import { PASSWORD } from '../server.js';
import { eventually } from './browser.js';
import { setScene } from './scene.js';

const scene = setScene();

/** Opens a tab in which this user is signed in, and looks at everything. */
async function openTab(user: string): Promise<Page> {
  const page = await scene.browser.tab();
  await page.evaluate(
    async ([url, username, password]) => {
      const client = window.broker.create({ url: url!, isKept: true });
      window.broker.watch('*');
      if (client.session.get().user !== username) await client.signIn({ username: username!, password: password!, discard: true });
    },
    [scene.server.url, user, PASSWORD],
  );
  return page;
}

const enqueue = (page: Page, event: string, data: unknown) =>
  page.evaluate(async ([event, data]) => void (await window.broker.client.outbox!.enqueue(event as string, data)), [event, data]);
const pending = (page: Page) => page.evaluate(() => window.broker.client.outbox!.pending.get().map(({ data, state }) => [data, state]));
const shown = (page: Page) =>
  page.evaluate(() => window.broker.client.all('*').get().map(({ event, data, pending }) => [event, data, !!pending])); // prettier-ignore
const live = (page: Page) => eventually('live', () => page.evaluate(() => window.broker.client.connection.get().state === 'live'));

const inserted = () => scene.server.inserted(scene.token);

/** Every byte that pages of the site can read: of their databases, and of their storage. */
const kept = (page: Page) =>
  page.evaluate(async () => {
    const texts = [JSON.stringify(localStorage), JSON.stringify(sessionStorage)];
    const ask = <T>(request: IDBRequest<T>) => new Promise<T>((resolve) => (request.onsuccess = () => resolve(request.result)));
    for (const { name, version } of await indexedDB.databases()) {
      const db = await ask(indexedDB.open(name!, version));
      texts.push(name!);
      for (const store of db.objectStoreNames) texts.push(JSON.stringify(await ask(db.transaction(store).objectStore(store).getAll())));
      db.close();
    }
    return texts.join('\n');
  });

test('what is made offline is kept, shown at the next start, and sent once and in order when the server is back', async () => {
  const first = await openTab(scene.alice);
  await live(first);
  await scene.server.as(scene.token, '/insert', { event: 'old', data: 'was there' });
  await eventually('the old one', async () => (await shown(first)).length === 1);
  await eventually('the old one in the database', async () => (await kept(first)).includes('was there'));
  await scene.server.kill();
  for (const n of [1, 2, 3]) await enqueue(first, `todo/${n % 2}`, n);
  expect((await pending(first)).map(([data]) => data)).toEqual([1, 2, 3]);
  await first.close();

  const second = await openTab(scene.alice);
  const all = [
    ['old', 'was there', false],
    ['todo/0', 2, true],
    ['todo/1', 3, true],
  ];
  await eventually('what was kept', async () => JSON.stringify(await shown(second)) === JSON.stringify(all));
  expect(await second.evaluate(() => window.broker.client.connection.get().stale)).toBe(true);

  await scene.server.start();
  scene.token = await scene.server.token(scene.bob);
  await eventually('the last one', async () => (await pending(second)).length === 0);
  await eventually('the stream', async () => (await shown(second)).every(([, , isPending]) => !isPending));
  expect(await inserted()).toEqual(['was there', 1, 2, 3]);
});

test('tabs that crash while they send: each change once and in order', async () => {
  const want: number[] = [];
  let page = await openTab(scene.alice);
  for (let round = 0; round < 8; round++) {
    const other = await openTab(scene.alice);
    for (let n = 0; n < 4; n++) {
      want.push(want.length);
      await enqueue(n % 2 ? page : other, `todo/${n}`, want.length - 1);
    }
    // Somewhere in the middle, and somewhere else each time.
    await other.evaluate((ms) => new Promise((resolve) => setTimeout(resolve, ms)), (round * 7) % 40);
    const session = await scene.browser.context.newCDPSession(page);
    session.send('Page.crash').catch(() => {});
    page = other;
  }
  await eventually('an empty outbox', async () => (await pending(page)).length === 0);
  expect(await inserted()).toEqual(want);
}, 5 * PATIENCE);

test('one tab of many sends, and all of them show how it goes', async () => {
  const tabs = [await openTab(scene.alice), await openTab(scene.alice), await openTab(scene.alice)];
  for (const tab of tabs) await live(tab);
  await Promise.all(tabs.map((tab, at) => enqueue(tab, `todo/${at}`, at)));
  for (const tab of tabs) {
    await eventually('all three, acknowledged', async () => {
      const all = await shown(tab);
      return all.length === 3 && all.every(([, , isPending]) => !isPending);
    });
    expect(await pending(tab)).toEqual([]);
  }
  const insertsOf = (tab: Page) => tab.evaluate(() => window.broker.requests.filter((path) => path === '/insert').length);
  const inserts = await Promise.all(tabs.map(insertsOf));
  expect(inserts.filter(Boolean)).toHaveLength(1);
  expect((await inserted()).sort()).toEqual([0, 1, 2]);
  expect(scene.browser.errors).toEqual([]);
});

test('a sign-out refuses while something waits, unless told, and leaves nothing of the user', async () => {
  const page = await openTab(scene.alice);
  await live(page);
  await page.evaluate(() => window.broker.client.insert('seen', 'bytes of alice').then(() => {}));
  await eventually('it in the database', async () => (await kept(page)).includes('bytes of alice'));
  await scene.server.kill();
  await enqueue(page, 'todo/1', 'secret of alice');
  expect(await kept(page)).toContain('secret of alice');
  const signOut = (discard: boolean) =>
    page.evaluate((discard) => window.broker.client.signOut({ discard }).then(() => 'out', ({ code }) => code), discard); // prettier-ignore
  expect(await signOut(false)).toBe('outbox_pending');
  expect(await page.evaluate(() => window.broker.client.session.get().status)).toBe('signed-in');
  expect(await kept(page)).toContain('secret of alice');

  const handle = page.evaluate(async () => {
    const { done } = await window.broker.client.outbox!.enqueue('todo/2', 'late');
    return done.then(() => 'sent', ({ code }) => code); // prettier-ignore
  });
  await eventually('both', async () => (await pending(page)).length === 2);
  expect(await signOut(true)).toBe('out');
  expect(await handle).toBe('discarded');
  expect(await shown(page)).toEqual([]);
  expect(await pending(page)).toEqual([]);
  expect(await kept(page)).not.toContain('alice');
  await scene.server.start();
});

test("another user is not let in over somebody's changes that wait, unless told, and reads none of their bytes", async () => {
  const first = await openTab(scene.alice);
  await live(first);
  await first.evaluate(() => window.broker.client.insert('seen', 'bytes of alice').then(() => {}));
  await eventually('it in the database', async () => (await kept(first)).includes('bytes of alice'));
  await scene.server.as(scene.token, '/events');
  // Her sign-in is ended by somebody else, while something of hers waits.
  await first.route('**/insert', (route) => route.abort());
  await enqueue(first, 'todo/1', 'secret of alice');
  await scene.server.admin('/revoke_user', { username: scene.alice });
  await eventually('the end', () => first.evaluate(() => window.broker.client.session.get().status === 'signed-out'));
  expect(await pending(first)).toEqual([]);
  expect(await shown(first)).toEqual([]);
  await eventually('no cache', async () => !(await kept(first)).includes('bytes of alice'));
  expect(await kept(first)).toContain('secret of alice');
  await first.close();

  const second = await scene.browser.tab();
  const signIn = (discard: boolean) =>
    second.evaluate(
      async ([url, username, password, discard]) => {
        const client = window.broker.client ?? window.broker.create({ url: url as string, isKept: true });
        const credentials = { username: username as string, password: password as string, discard: discard as boolean };
        return client.signIn(credentials).then(() => 'in', ({ code }) => code); // prettier-ignore
      },
      [scene.server.url, scene.bob, PASSWORD, discard],
    );
  expect(await signIn(false)).toBe('outbox_pending');
  expect(await second.evaluate(() => window.broker.client.session.get().status)).toBe('signed-out');
  expect(await signIn(true)).toBe('in');
  await eventually('nothing of hers', async () => !(await kept(second)).includes('alice'));
  expect(await pending(second)).toEqual([]);
});
