// Tabs share one stream, and it goes on within three seconds whatever happens to the tab that reads it.
import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { PASSWORD } from '../server.js';
import { eventually, setFrozen } from './browser.js';
import { setScene } from './scene.js';

const scene = setScene();

/** Opens tabs in which alice is signed in, and which listen to everything under `todo/`. */
async function openTabs(count: number, share = true): Promise<Page[]> {
  const tabs: Page[] = [];
  for (let at = 0; at < count; at++) {
    const page = await scene.browser.tab();
    tabs.push(page);
    await page.evaluate(
      async ([url, username, password, share]) => {
        const client = window.broker.create({ url, share });
        if (client.session.get().user !== username) await client.signIn({ username, password });
        window.broker.listen('todo/*');
        await client.ready('todo/*');
      },
      [scene.server.url, scene.alice, PASSWORD, share] as const,
    );
  }
  return tabs;
}

const isReading = (page: Page) => page.evaluate(() => window.broker.isReading);
const readers = async (tabs: Page[]) => (await Promise.all(tabs.map(isReading))).filter(Boolean).length;
/** While one leader takes over from another there may be none, or both. */
const expectReaders = (tabs: Page[], count: number) => eventually(`${count} that read`, async () => (await readers(tabs)) === count);
const heard = (page: Page) => page.evaluate(() => window.broker.heard);

async function leaderOf(tabs: Page[]): Promise<[leader: Page, others: Page[]]> {
  for (const tab of tabs) if (await isReading(tab)) return [tab, tabs.filter((other) => other !== tab)];
  throw new Error('no tab reads a stream');
}

/** Somebody else inserts all the time, until told to stop. Gives how many there were. */
function writing() {
  let isOver = false;
  const done = (async () => {
    let count = 0;
    while (!isOver) {
      await scene.server.as(scene.token, '/insert', { event: `todo/${count % 2}`, data: count++ });
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return count;
  })();
  return () => {
    isOver = true;
    return done;
  };
}

/** The longest time, in ms, in which a tab was told nothing. It was told everything, once and in order. */
async function longestGap(tab: Page, count: number) {
  const all = await eventually('the last one', async () => {
    const all = (await heard(tab)).filter(({ data }) => typeof data === 'number');
    return all.at(-1)?.data === count - 1 && all;
  });
  expect(all.map(({ data }) => data)).toEqual(Array.from({ length: count }, (_, at) => at));
  return Math.max(...all.slice(1).map(({ at }, index) => at - all[index]!.at));
}

/**
 * No tab waited for three seconds. Five messages go to and fro between processes in that time, and a busy machine is late with each of
 * them, as it is with the stream of a tab that shares with nobody.
 */
async function expectNoLongGap(tabs: Page[], alone: Page, count: number) {
  const late = Math.max(0, (await longestGap(alone, count)) - 100);
  for (const tab of tabs) expect(await longestGap(tab, count)).toBeLessThan(3000 + 5 * late);
}

test('twenty tabs over HTTP/1.1 have one stream', async () => {
  const tabs = await openTabs(20);
  await expectReaders(tabs, 1);
  const present = await scene.server.as(scene.token, '/presence');
  expect(present).toMatchObject([{ username: scene.alice, streams: 1 }]);

  // Each tab can be asked something all the same: six streams would leave no connection for that.
  await Promise.all(tabs.map((tab, at) => tab.evaluate((at) => window.broker.client.insert(`todo/of/${at}`, at).then(() => {}), at)));
  for (const tab of tabs) {
    await eventually('all twenty', async () => (await heard(tab)).length === 20);
  }
  expect(scene.browser.errors).toEqual([]);
});

test('a tab that wants more is given it, by the stream of the leader', async () => {
  const tabs = await openTabs(3);
  const [, [follower]] = await leaderOf(tabs);
  await scene.server.as(scene.token, '/insert', { event: 'more/1', data: 'there before' });
  await follower!.evaluate(async () => {
    window.broker.listen('more/*');
    await window.broker.client.ready('more/*');
  });
  await scene.server.as(scene.token, '/insert', { event: 'more/2', data: 'new' });
  const names = () => heard(follower!).then((all) => all.filter(({ event }) => event.startsWith('more/')).map(({ data }) => data));
  await eventually('both', async () => (await names()).length === 2);
  expect(await names()).toEqual(['there before', 'new']);
  await expectReaders(tabs, 1);
  expect(scene.browser.errors).toEqual([]);
});

test('tabs of two users of a tenant share no stream, and none is told what is for the other', async () => {
  const open = async (username: string) => {
    const page = await scene.browser.tab();
    await page.evaluate(
      async ([url, username, password]) => {
        await window.broker.create({ url, auth: { storage: 'memory' } }).signIn({ username, password });
        window.broker.listen('*');
        await window.broker.client.ready('*');
      },
      [scene.server.url, username, PASSWORD] as const,
    );
    return page;
  };
  const users = [scene.alice, scene.bob, scene.alice, scene.bob];
  const tabs: Page[] = [];
  for (const user of users) tabs.push(await open(user));
  await expectReaders(tabs, 2);
  for (const user of [scene.alice, scene.bob]) {
    await scene.server.as(await scene.server.token(user), '/insert', { event: `@${user}/note`, data: `of ${user}` });
  }
  await scene.server.as(scene.token, '/insert', { event: 'last', data: 'for all' });
  for (const [at, tab] of tabs.entries()) {
    await eventually('the last one', async () => (await heard(tab)).some(({ event }) => event === 'last'));
    expect((await heard(tab)).map(({ data }) => data)).toEqual([`of ${users[at]}`, 'for all']);
  }
  expect(scene.browser.errors).toEqual([]);
});

test('what a tab wants besides the others is still brought to it when another tab leads', async () => {
  const tabs = await openTabs(3);
  for (const [at, tab] of tabs.entries()) {
    await tab.evaluate(async (filter) => {
      window.broker.listen(filter);
      await window.broker.client.ready(filter);
    }, `own/${at}/*` as const);
  }
  // What `ready` has listened to lingers for a second, and each tab says what it wants once more then.
  await new Promise((resolve) => setTimeout(resolve, 1500));
  const [leader, others] = await leaderOf(tabs);
  await leader.close();
  await expectReaders(others, 1);
  // A new leader asks for what the former one did at first, and then for what tabs have said that they want.
  const deadline = Date.now() + 4000;
  let count = 0;
  while (Date.now() < deadline) {
    for (const at of tabs.keys()) await scene.server.as(scene.token, '/insert', { event: `own/${at}/1`, data: count });
    count++;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  for (const tab of others) {
    const filter = `own/${tabs.indexOf(tab)}/1`;
    const own = async () => (await heard(tab)).filter(({ event }) => event === filter).map(({ data }) => data);
    await eventually('the last one', async () => (await own()).at(-1) === count - 1);
    expect(await own()).toEqual(Array.from({ length: count }, (_, n) => n));
  }
});

test('an event that ends with the connection of the tabs stays until the last of them has gone', async () => {
  const tabs = await openTabs(2);
  const [leader, [follower]] = await leaderOf(tabs);
  await follower!.evaluate(async () => {
    window.broker.listen('typing/*');
    await window.broker.client.ready('typing/*');
    await window.broker.client.insert('typing/me', true, { whileConnected: true });
  });
  await leader.close();
  await eventually('another leader', () => isReading(follower!));
  const names = async () => (await scene.server.as(scene.token, '/events?events=typing/*')).length;
  // A stream that nobody took over ends its events after five seconds, and one more.
  await new Promise((resolve) => setTimeout(resolve, 8000));
  expect(await names()).toBe(1);
  await follower!.close();
  await eventually('its end', async () => (await names()) === 0);
});

const ENDS: Record<string, (leader: Page) => Promise<Page | undefined>> = {
  'is closed': (leader) => leader.close().then(() => undefined),
  crashes: async (leader) => {
    const session = await leader.context().newCDPSession(leader);
    session.send('Page.crash').catch(() => {});
    return undefined;
  },
  'is frozen': (leader) => setFrozen(leader, true).then(() => undefined),
  'is stuck, and does not know it': async (leader) => {
    const stuck = leader.evaluate(() => {
      const end = Date.now() + 6000;
      while (Date.now() < end);
    });
    stuck.catch(() => {});
    return undefined;
  },
  'goes into the back-forward cache': async (leader) => {
    await leader.evaluate(() => Object.assign(window, { isTheSame: true }));
    await leader.goto(scene.browser.site.replace('localhost', '127.0.0.1'), { waitUntil: 'commit' });
    return leader;
  },
};

for (const [what, end] of Object.entries(ENDS)) {
  test(`the leader ${what}, and another tab goes on within three seconds`, async () => {
    const [alone] = await openTabs(1, false);
    // The last of them is seen. If all are hidden, their timers run once a second, and it takes longer.
    const tabs = await openTabs(4);
    const stop = writing();
    const [leader, others] = await leaderOf(tabs);
    await eventually('the first ones', async () => (await heard(others[0]!)).length > 5);
    const away = await end(leader);
    await expectReaders(others, 1);
    const before = (await heard(others[0]!)).length;
    await eventually('more', async () => (await heard(others[0]!)).length > before + 5);
    if (away) {
      // It comes back as it was, and joins the others.
      await away.goBack({ waitUntil: 'commit' });
      expect(await away.evaluate(() => 'isTheSame' in window)).toBe(true);
      await eventually('news in it', async () => {
        const last = (await heard(others[0]!)).at(-1)!.id;
        return (await heard(away)).at(-1)!.id >= last;
      });
    }
    if (what === 'is frozen') {
      await setFrozen(leader, false);
      await eventually('news in it', async () => {
        const last = (await heard(others[0]!)).at(-1)!.id;
        return (await heard(leader)).at(-1)!.id >= last;
      });
    }
    const count = await stop();
    await expectNoLongGap(others, alone!, count);
    if (what !== 'is closed' && what !== 'crashes') {
      await expectReaders(tabs, 1);
    }
    expect(scene.browser.errors).toEqual([]);
  });
}
