// What was kept in the outbox reaches the server exactly once and in order, wherever a tab dies and whoever else sends.
import { IDBFactory } from 'fake-indexeddb';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { startServer, type Server } from '../server.js';
import { atOnce, deathsUpTo, killable, type Death, type Life } from './killable.js';
import type * as Modules from './modules.js';

let server: Server;
let token: string;
let load: Awaited<ReturnType<typeof killable<typeof Modules>>>;

beforeAll(async () => {
  server = await startServer();
  await server.user('alice');
  token = await server.token('alice');
  load = await killable<typeof Modules>(new URL('modules.ts', import.meta.url).pathname, ['globalThis']);
});
afterAll(() => server.stop());

type Row = Modules.QueueRow;
type Send = (row: Row, send: () => Promise<Modules.Receipt>) => Promise<Modules.Receipt>;
interface Surroundings {
  life?: Life | undefined;
  /** Stands between the queue and the server. */
  send?: Send;
  /** What is added to the server's time. */
  later?: () => number;
  /** The server's time. */
  now?: () => number | Promise<number>;
  owner?: string;
}

/** The clock of the server, which is that of this machine, whatever a test does to the clock of the device. */
const serverNow = Date.now.bind(Date);

const lost = { code: 'network', message: 'no answer', retryable: true, retryAfter: 0.001 };

/** A tab: modules of its own, over the one database of the browser. */
function openTab(indexedDB: IDBFactory, { life, send = (_, go) => go(), later = () => 0, now = serverNow, owner = 'alice' }: Surroundings = {}) {
  const module = load(life, [{ ...globalThis, indexedDB }]);
  const call = async (path: string, init: RequestInit = {}) => {
    const headers = { ...init.headers, authorization: `Bearer ${token}` };
    const reply = await fetch(server.url + path, { ...init, headers });
    const text = await reply.text();
    if (!reply.ok) throw { ...JSON.parse(text), status: reply.status, retryable: reply.status >= 500 };
    return text;
  };
  const memory: unknown[] = [];
  const database = module.openDatabase<Row>('test', (error) => memory.push(error));
  const stopped: Row[] = [];
  const states: string[] = [];
  const sent: string[] = [];
  const host = {
    now: async () => (await now()) + later(),
    send: (row: Row) =>
      send(row, async () => {
        const { path, body, key, headers } = row;
        return JSON.parse(await call(path, { method: 'POST', body, headers: { ...headers, 'idempotency-key': key } }));
      }),
  };
  const queue = module.createQueue(database, owner, host, {
    changed() {},
    status: ({ state }) => states.push(state),
    sent: ({ key }) => sent.push(key),
    stopped: (row) => stopped.push(row),
  });
  let keys = 0;
  const enqueue = (event: string, data: unknown, headers: Record<string, string> = {}) =>
    database.add({
      owner,
      key: `${event}-${data}-${keys++}`,
      path: '/insert',
      name: event,
      shown: true,
      body: JSON.stringify({ event, data }),
      headers,
      state: 'queued',
    });
  /** Sends until nothing is left that could be sent now. */
  const drain = async () => {
    queue.lead();
    await queue.wake();
  };
  return { queue, database, enqueue, drain, stopped, states, sent, memory, steps: () => module.steps() };
}
type Tab = ReturnType<typeof openTab>;

const inserted = (prefix: string) => server.inserted(token, prefix);

const ROWS = [1, 2, 3, 4];

/**
 * A tab enqueues and sends, and dies where it is told. A second one goes on, which was there already and may die as well, and then a
 * third. Every third answer is lost on the way.
 */
async function live(prefix: string, first?: Death, second?: Death) {
  const indexedDB = new IDBFactory();
  const kept: number[] = [];
  let steps = 0;
  let calls = 0;
  const send: Send = async (_, go) => {
    const receipt = await go();
    if (++calls % 3 === 0) throw lost;
    return receipt;
  };
  const run = (death: Death | undefined, work: (tab: Tab) => Promise<void>) =>
    new Promise<void>((resolve, reject) => {
      const tab = openTab(indexedDB, { life: death && { ...death, onDeath: resolve }, send });
      const drain = async () => {
        while ((await tab.database.list('alice')).length) await tab.drain();
      };
      work(tab)
        .then(drain)
        .then(() => {
          steps = tab.steps();
          resolve();
        }, reject);
    });
  await run(first, async (tab) => {
    tab.queue.lead();
    for (const row of ROWS) {
      await tab.enqueue(prefix + (row % 2), row);
      kept.push(row);
      void tab.queue.wake();
    }
  });
  const took = steps;
  if (second) await run(second, async () => {});
  await run(undefined, async () => {});
  return { kept, took, seen: await inserted(prefix) };
}

/** What was not said to be kept may be there or not. It is the last. */
function expectOnce({ kept, seen }: { kept: number[]; seen: number[] }, where: string) {
  expect([kept, ROWS.slice(0, kept.length + 1)], where).toContainEqual(seen);
}

test('a tab is killed at every await, before and after what it awaits, and another goes on', async () => {
  const { took, seen } = await live('whole/');
  expect(seen).toEqual(ROWS);
  expect(took).toBeGreaterThan(50);
  await atOnce(deathsUpTo(took), async (death) => {
    expectOnce(await live(`${death.at}/${death.when}/`, death), `killed ${death.when} await ${death.at}`);
  });
}, 600_000);

test('the tab that goes on is killed too', async () => {
  const { took } = await live('second/');
  const deaths: [at: number, next: number][] = [];
  for (let at = 3; at <= took; at += 5) for (let next = 1; next < 40; next += 5) deaths.push([at, next]);
  await atOnce(deaths, async ([at, next]) => {
    const when = (at + next) % 2 ? 'before' : 'after';
    expectOnce(await live(`${at}/${next}/`, { at, when }, { at: next, when }), `killed ${when} await ${at} and ${next}`);
  });
}, 600_000);

test('a tab is killed at every await while another sends the same', async () => {
  let died = 0;
  const run = async ({ at, when }: Death) => {
    const prefix = `beside/${at}/${when}/`;
    const indexedDB = new IDBFactory();
    const other = openTab(indexedDB);
    for (const row of ROWS) await other.enqueue(prefix + (row % 2), row);
    // The other one begins at the same time, or when the first has sent some.
    await new Promise<void>((begin) => {
      let sent = 0;
      const onDeath = () => {
        died++;
        begin();
      };
      const send: Send = (_, go) => {
        if (sent++ === at % 4) begin();
        return go();
      };
      void openTab(indexedDB, { life: { at, when, onDeath }, send }).drain();
    });
    await other.drain();
    expect(await inserted(prefix), `killed ${when} await ${at}`).toEqual(ROWS);
  };
  await atOnce(deathsUpTo(50), run);
  // How many awaits there are depends on how much the other has done.
  expect(died).toBeGreaterThan(40);
}, 600_000);

test('two tabs that both send, as without locks, send each change once and in order', async () => {
  const indexedDB = new IDBFactory();
  const tabs = [openTab(indexedDB), openTab(indexedDB)];
  for (const row of ROWS) await tabs[row % 2]!.enqueue('both/1', row);
  await Promise.all(tabs.map((tab) => tab.drain()));
  expect(await inserted('both/')).toEqual(ROWS);
});

test('a 412 blocks its name alone, and other refusals block nothing', async () => {
  await server.as(token, '/insert', { event: 'block/a', data: 0 });
  const tab = openTab(new IDBFactory());
  await tab.enqueue('block/a', 'late', { 'if-none-match': '*' });
  await tab.enqueue('block/a', 'after');
  await tab.enqueue('block/b', 1);
  await tab.enqueue('block/c', 1, { 'if-match': 'nonsense' });
  await tab.enqueue('block/c', 2);
  await tab.drain();
  expect(tab.stopped.map(({ body, state, refusal }) => [JSON.parse(body).data, state, refusal?.code])).toEqual([
    ['late', 'blocked', 'precondition_failed'],
    [1, 'refused', 'precondition_invalid'],
  ]);
  expect(tab.stopped[0]!.refusal!.current).toMatchObject({ event: 'block/a', data: 0 });
  expect(await inserted('block/')).toEqual([0, 1, 2]);

  // As soon as it is decided, the name goes on.
  await tab.database.update(tab.stopped[0]!.seq, () => undefined);
  await tab.drain();
  expect(await inserted('block/')).toEqual([0, 1, 2, 'after']);
});

test('a 401 pauses, and a later sign-in goes on with the same keys', async () => {
  const indexedDB = new IDBFactory();
  let isRefused = true;
  const keys: string[] = [];
  const send: Send = async (row, go) => {
    keys.push(row.key);
    if (isRefused) throw { status: 401, code: 'unauthorized', message: '', retryable: false };
    return go();
  };
  const tab = openTab(indexedDB, { send });
  for (const row of ROWS) await tab.enqueue('pause/1', row);
  await tab.drain();
  expect(tab.states.at(-1)).toBe('paused');
  expect(keys).toHaveLength(1);
  isRefused = false;
  await tab.queue.wake();
  expect(keys.slice(1)).toEqual([keys[0], ...keys.slice(2)]);
  expect(await inserted('pause/')).toEqual(ROWS);
});

test('an attempt without an answer is repeated for 23 hours, is unknown then, and holds its name', async () => {
  const HOUR = 3_600_000;
  const indexedDB = new IDBFactory();
  let hours = 0;
  let posts = 0;
  let isLost = true;
  const send: Send = async (_, go) => {
    posts++;
    const receipt = await go();
    if (isLost) throw { ...lost, retryAfter: 1000 };
    return receipt;
  };
  const first = openTab(indexedDB, { send });
  await first.enqueue('age/a', 1);
  await first.enqueue('age/a', 2);
  await first.enqueue('age/b', 3);
  await first.drain();
  // Later rows wait for the answer of the first one.
  expect([posts, first.states.at(-1)]).toEqual([1, 'waiting']);

  hours = 22;
  const second = openTab(indexedDB, { send, later: () => hours * HOUR });
  await second.drain();
  expect(posts).toBe(2);

  hours = 23.1;
  isLost = false;
  const third = openTab(indexedDB, { send, later: () => hours * HOUR });
  await third.drain();
  expect(third.stopped.map((row) => row.state)).toEqual(['unknown']);
  // The other name went on; nothing of this one was sent, and it is there once, from its first attempt.
  expect(await inserted('age/')).toEqual([1, 3]);
  expect((await third.database.list('alice')).map((row) => row.state)).toEqual(['unknown', 'queued']);
});

test('a clock of the device that is set back makes no attempt younger', async () => {
  const indexedDB = new IDBFactory();
  const tab = openTab(indexedDB, { send: () => Promise.reject(lost) });
  await tab.enqueue('clock/a', 1);
  await tab.drain();
  const real = Date.now;
  try {
    Date.now = () => real() - 48 * 3_600_000;
    const later = openTab(indexedDB, { later: () => 24 * 3_600_000 });
    await later.drain();
    expect(later.stopped.map((row) => row.state)).toEqual(['unknown']);
  } finally {
    Date.now = real;
  }
  expect(await inserted('clock/')).toEqual([]);
});

test('a server that cannot be reached makes nothing unknown: what was never sent may wait for ever', async () => {
  const indexedDB = new IDBFactory();
  const offline = openTab(indexedDB, { later: () => { throw lost; } }); // prettier-ignore
  await offline.enqueue('wait/a', 1);
  await offline.drain();
  expect(offline.states.at(-1)).toBe('waiting');
  offline.queue.close();
  const later = openTab(indexedDB, { later: () => 1000 * 3_600_000 });
  await later.drain();
  expect(await inserted('wait/')).toEqual([1]);
});

test('what an owner has kept is neither read nor sent for another', async () => {
  const indexedDB = new IDBFactory();
  const alice = openTab(indexedDB, { send: () => Promise.reject(lost) });
  await alice.enqueue('mine/a', 'secret of alice');
  const kept = { owner: 'alice', event: 'mine/b', item: { event: 'mine/b', data: 'read by alice' } };
  await alice.database.transact('latest', 'readwrite', undefined, (store) => store.put(kept));
  const latest = (tab: typeof alice, owner: string) =>
    tab.database.transact<unknown[]>('latest', 'readonly', [], (store) => store.index('owner').getAll(owner));
  const bob = openTab(indexedDB, { owner: 'bob' });
  expect(await bob.database.list('bob')).toEqual([]);
  expect(await latest(bob, 'bob')).toEqual([]);
  expect(await latest(alice, 'alice')).toEqual([kept]);
  expect(await bob.database.hasOthers('bob')).toBe(true);
  await bob.drain();
  expect(await inserted('mine/')).toEqual([]);
  await bob.database.wipe('outbox', 'bob', true);
  await bob.database.wipe('latest', 'bob', true);
  expect(await alice.database.list('alice')).toEqual([]);
  expect(await latest(alice, 'alice')).toEqual([]);
});

test('a database that is refused is tried once more, and then rows are kept in memory, with one word of it', async () => {
  let opens = 0;
  const refusing = { open: () => { opens++; throw new Error('refused'); } } as unknown as IDBFactory; // prettier-ignore
  const tab = openTab(refusing);
  for (const row of ROWS) await tab.enqueue('memory/1', row);
  expect(opens).toBe(2);
  expect(tab.memory).toHaveLength(1);
  await tab.drain();
  expect(await inserted('memory/')).toEqual(ROWS);
  expect(await tab.database.list('alice')).toEqual([]);
});

test('a database that is lost while it is open is opened again', async () => {
  const real = new IDBFactory();
  let opens = 0;
  const databases: IDBDatabase[] = [];
  const losing = {
    open(name: string, version: number) {
      opens++;
      const request = real.open(name, version);
      request.addEventListener('success', () => databases.push(request.result));
      return request;
    },
  } as unknown as IDBFactory;
  const tab = openTab(losing);
  await tab.enqueue('lost/1', 1);
  // As Safari does: the connection is gone, and nothing says so.
  databases[0]!.close();
  await tab.enqueue('lost/1', 2);
  expect([opens, tab.memory]).toEqual([2, []]);
  await tab.drain();
  expect(await inserted('lost/')).toEqual([1, 2]);
});

test('a database that does not answer in time does nothing later: what it was asked is done in memory', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const aborts: unknown[] = [];
  const transaction = { objectStore: () => ({ add: () => ({}) }), abort: () => void aborts.push(transaction) };
  const factory = {
    open() {
      const request = { result: { transaction: () => transaction, close() {} }, onsuccess: undefined as (() => void) | undefined };
      queueMicrotask(() => request.onsuccess!());
      return request;
    },
  };
  const database = load(undefined, [globalThis]).openDatabase<Row>('test', () => {}, factory as unknown as IDBFactory);
  const row = database.add({ owner: 'alice', key: 'key' } as Row);
  // It is opened once more.
  for (const count of [1, 2]) {
    await vi.advanceTimersByTimeAsync(5_000);
    expect(aborts).toHaveLength(count);
  }
  expect(await row).toBeGreaterThan(1e15);
  vi.useRealTimers();
});

test('when a row was tried first is kept, whatever is enqueued and answered after that', async () => {
  const time = Date.now();
  let tries = 0;
  const tab = openTab(new IDBFactory(), {
    now: () => time + 1000 * tries,
    send: () => Promise.reject(++tries === 1 ? { ...lost, retryAfter: 3600 } : { ...lost, status: 429, code: 'insert_rate_exceeded', retryAfter: 3600 }),
  });
  await tab.enqueue('first/a', 1);
  await tab.drain();
  const read = async () => (await tab.database.list('alice')).map(({ tried }) => tried);
  expect(await read()).toEqual([time]);
  await tab.enqueue('first/b', 2);
  const [, row] = await tab.database.list('alice');
  tab.queue.added(row!);
  await vi.waitFor(() => expect(tries).toBe(2));
  await vi.waitFor(() => expect(tab.states.at(-1)).toBe('waiting'));
  expect(await read()).toEqual([time, undefined]);
  tab.queue.close();
});

test('what is discarded while the time is asked for is not sent', async () => {
  let answer: ((time: number) => void) | undefined;
  const sent: string[] = [];
  let tries = 0;
  const tab = openTab(new IDBFactory(), {
    now: () => (tries ? new Promise((resolve) => (answer = resolve)) : Date.now()),
    send: (row, go) => (tries++ ? (sent.push(row.key), go()) : Promise.reject({ ...lost, retryAfter: 3600 })),
  });
  await tab.enqueue('gone/a', 1);
  await tab.drain();
  void tab.queue.wake();
  await vi.waitFor(() => expect(answer).toBeDefined());
  const [row] = await tab.database.list('alice');
  await tab.database.update(row!.seq, () => undefined);
  const done = tab.queue.wake();
  answer!(Date.now());
  await done;
  expect(sent).toEqual([]);
  tab.queue.close();
});

test('a tab that loses the lead while it sends, and leads again, goes on', async () => {
  let fail: (() => void) | undefined;
  const tab = openTab(new IDBFactory(), {
    send: (_, go) => (fail ? go() : new Promise((_, reject) => (fail = () => reject({ ...lost, retryAfter: 0 })))),
  });
  await tab.enqueue('lead/a', 1);
  const stop = tab.queue.lead();
  const first = tab.queue.wake();
  await vi.waitFor(() => expect(fail).toBeDefined());
  stop();
  const timers = vi.spyOn(globalThis, 'setTimeout');
  fail!();
  await first;
  // Nothing is planned by who does not lead, and looking after all harms nothing.
  expect(timers).not.toHaveBeenCalled();
  timers.mockRestore();
  tab.queue.added((await tab.database.list('alice'))[0]!);
  await tab.drain();
  expect(await inserted('lead/')).toEqual([1]);
  tab.queue.close();
});
