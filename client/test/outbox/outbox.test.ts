// What a program can do with the outbox and the cache: enqueue, look, decide.
import { IDBFactory, IDBIndex, IDBKeyRange, IDBObjectStore } from 'fake-indexeddb';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { createClient, type Client, type Queued } from '../../src/index.js';
import { createCache, createOutbox } from '../../src/outbox/index.js';
import { PASSWORD, startServer, until, type Server } from '../server.js';

let server: Server;
let clients: Client[] = [];
beforeAll(async () => {
  server = await startServer();
  await server.user('alice');
  await server.user('bob');
});
afterAll(() => server.stop());
beforeEach(() => {
  Object.assign(globalThis, { indexedDB: new IDBFactory(), IDBKeyRange });
});
afterEach(() => {
  for (const client of clients) client.close();
  clients = [];
  Reflect.deleteProperty(globalThis, 'indexedDB');
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

async function start(username = 'alice', onStop?: (queued: Queued) => void) {
  const client = createClient({
    url: server.url,
    auth: { storage: 'memory' },
    transport: 'fetch',
    outbox: createOutbox({ onStop }),
    cache: createCache(),
  });
  clients.push(client);
  if (username) await client.signIn({ username, password: PASSWORD });
  return { client, outbox: client.outbox! };
}

const read = async (event: string) => (await server.as(await server.token('bob'), `/events?events=${event}`))[0];

test('an insert is kept, sent, acknowledged, and then nowhere any more', async () => {
  const { client, outbox } = await start();
  const store = client.latest('plain');
  store.subscribe(() => {});
  const { key, done, status } = await outbox.enqueue('plain', { a: 1 }, { expiresIn: 600 });
  expect(outbox.pending.get()).toMatchObject([{ key, event: 'plain', data: { a: 1 } }]);
  expect(store.get()).toMatchObject({ data: { a: 1 }, pending: true });
  const { id } = await done;
  expect(status.get().state).toBe('done');
  expect(outbox.pending.get()).toEqual([]);
  expect(await read('plain')).toMatchObject({ id, data: { a: 1 } });
  await until(store, (item) => item?.id === id);
  await until(outbox.status, ({ state }) => state === 'idle');
});

test('a change is on the disk before it is shown, said to be kept, or sent', async () => {
  const { client, outbox } = await start();
  const store = client.latest('held');
  store.subscribe(() => {});
  await client.ready('held');
  await (await outbox.enqueue('first', 1)).done;
  const names: string[] = [];
  const { fetch } = globalThis;
  vi.spyOn(globalThis, 'fetch').mockImplementation((url, init) => {
    names.push(...(/"event":"(\w+)"/.exec(String(init?.body))?.slice(1) ?? []));
    return fetch(url, init);
  });
  // Another page writes, and writes on: a transaction of its own keeps others from beginning.
  const db = await new Promise<IDBDatabase>((resolve) => {
    const request = indexedDB.open(`broker ${server.url}`);
    request.onsuccess = () => resolve(request.result);
  });
  const rows = db.transaction('outbox', 'readwrite').objectStore('outbox');
  let isHeld = true;
  const hold = () => {
    if (isHeld) rows.count().onsuccess = hold;
  };
  hold();
  const asked = new Promise<void>((resolve) => {
    const add = IDBObjectStore.prototype.add;
    vi.spyOn(IDBObjectStore.prototype, 'add').mockImplementation(function (this: IDBObjectStore, ...row) {
      resolve();
      return add.apply(this, row);
    });
  });
  let isKept = false;
  const kept = outbox.enqueue('held', 1).finally(() => (isKept = true));
  await asked;
  // Whatever does not wait for the disk has had its turn.
  for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate);
  expect([isKept, outbox.pending.get(), store.get(), names]).toEqual([false, [], undefined, []]);

  isHeld = false;
  const { done } = await kept;
  db.close();
  expect(store.get()).toMatchObject({ data: 1 });
  await done;
  expect(names).toEqual(['held']);
});

test('a removal is kept and sent too, and one of what is gone already is done', async () => {
  const { client, outbox } = await start();
  await client.insert('there', 1);
  const removal = await outbox.remove('there');
  expect(removal.status.get()).toMatchObject({ event: 'there', removed: true });
  await removal.done;
  expect(await read('there')).toBeUndefined();
  await expect((await outbox.remove('there')).done).resolves.toMatchObject({ id: '' });
});

test('a refusal is said to those who wait and to those who look, and can be tried again or discarded', async () => {
  const stopped: Queued[] = [];
  const { client, outbox } = await start('alice', (queued) => stopped.push(queued));
  const store = client.latest('doc');
  store.subscribe(() => {});
  await client.insert('doc', 'first');
  const { key, done, status } = await outbox.enqueue('doc', 'second', { ifNoneMatch: true });
  const after = await outbox.enqueue('doc', 'third');
  await until(status, ({ state }) => state === 'blocked');
  expect(status.get().error).toMatchObject({ status: 412, current: { data: 'first' } });
  expect(stopped).toMatchObject([{ key, state: 'blocked' }]);
  // What waits behind it is still shown.
  expect(store.get()).toMatchObject({ data: 'third', pending: true });

  await client.remove('doc', { optimistic: false });
  outbox.retry(key);
  await done;
  await after.done;
  expect((await read('doc')).data).toBe('third');

  const wrong = await outbox.enqueue('doc', 'x', { ifMatch: 'nonsense' });
  await expect(wrong.done).rejects.toMatchObject({ code: 'precondition_invalid', status: 400 });
  expect(outbox.pending.get()).toMatchObject([{ state: 'refused', error: { code: 'precondition_invalid' } }]);
  outbox.discard(wrong.key);
  expect(outbox.pending.get()).toEqual([]);
});

test('what was discarded before it was sent is never sent, and is not shown any more', async () => {
  const { client, outbox } = await start();
  const store = client.latest('never');
  store.subscribe(() => {});
  await client.ready('never');
  await server.kill();
  const { key, done } = await outbox.enqueue('never', 1);
  await until(outbox.status, ({ state }) => state === 'waiting');
  expect(store.get()?.data).toBe(1);
  outbox.discard(key);
  await expect(done).rejects.toMatchObject({ code: 'discarded' });
  expect(store.get()).toBeUndefined();
  await server.start();
  await (await outbox.enqueue('other', 1)).done;
  expect(await read('never')).toBeUndefined();
});

test('enqueue refuses what cannot wait', async () => {
  const { outbox } = await start();
  await expect(outbox.enqueue('x', 1, { whileConnected: true } as object)).rejects.toMatchObject({ code: 'outbox_while_connected' });
  await server.kill();
  await outbox.enqueue('x', 1, { key: 'mine' });
  await expect(outbox.enqueue('x', 2, { key: 'mine' })).rejects.toMatchObject({ code: 'idempotency_key_reused' });
  await server.start();
  const { outbox: nobodys } = await start('');
  await expect(nobodys.enqueue('x', 1)).rejects.toMatchObject({ code: 'unauthorized' });
});

test('without a database everything works, and the status says that a reload would forget it', async () => {
  Reflect.deleteProperty(globalThis, 'indexedDB');
  const { outbox } = await start();
  const { done } = await outbox.enqueue('memory', 1);
  expect(outbox.status.get().durable).toBe(false);
  await done;
  expect(await read('memory')).toMatchObject({ data: 1 });
});

test('a second client of the same user shows what the first has enqueued, and either may send it', async () => {
  const first = await start();
  const second = await start();
  await server.kill();
  const { done } = await first.outbox.enqueue('both', 1);
  await until(second.outbox.pending, (list) => list.length === 1);
  await server.start();
  await done;
  await until(second.outbox.pending, (list) => list.length === 0);
  const { events } = await server.as(await server.token('bob'), '/history?event=both');
  expect(events).toHaveLength(1);
});

test('the cache shows the last state before the server has answered, to the same user alone', async () => {
  const first = await start();
  await first.client.insertAll([
    { event: 'cached/1', data: 1 },
    { event: 'cached/2', data: 2 },
  ]);
  const list = first.client.all('cached/*');
  list.subscribe(() => {});
  await until(list, (items) => items.length === 2 && items.every(({ pending }) => !pending));
  // It is written when the page goes, at the latest.
  first.client.close();

  await server.kill();
  const token = await (async () => {
    await server.start();
    const token = await server.token('alice');
    await server.kill();
    return token;
  })();
  const open = (jwt: string) => {
    const client = createClient({ url: server.url, auth: { token: jwt }, transport: 'fetch', cache: createCache() });
    clients.push(client);
    const store = client.all('cached/*');
    store.subscribe(() => {});
    return { client, store };
  };
  const { client, store } = open(token);
  await until(store, (items) => items.length === 2);
  expect(client.connection.get()).toMatchObject({ stale: true });
  client.close();

  await server.start();
  const bobs = await server.token('bob');
  await server.kill();
  const other = open(bobs);
  await until(other.client.connection, ({ state }) => state === 'waiting');
  expect(other.store.get()).toEqual([]);
  await server.start();
});

/** Changes do not reach the server until what it gives is called. `then` is run between an answer and its arrival. */
function holdInserts(then = async (_path: string) => {}): () => void {
  const { fetch } = globalThis;
  let isHeld = true;
  vi.spyOn(globalThis, 'fetch').mockImplementation(async (url, init) => {
    const path = new URL(String(url)).pathname;
    if (isHeld && path === '/insert') throw new TypeError('no network');
    const reply = await fetch(url, init);
    await then(path);
    return reply;
  });
  return () => (isHeld = false);
}

test('what waits pauses with the session, and is sent once when the same user is back', async () => {
  await server.user('carol');
  const { client, outbox } = await start('carol');
  const release = holdInserts();
  const { done, status } = await outbox.enqueue('paused', 'kept');
  await until(outbox.status, ({ state }) => state === 'waiting');
  await server.admin('/revoke_user', { username: 'carol' });
  await expect(client.me()).rejects.toMatchObject({ status: 401 });
  expect(outbox.status.get()).toEqual({ state: 'paused', durable: true });
  expect(status.get()).toMatchObject({ event: 'paused', state: 'paused' });
  // What belongs to a user is shown to nobody else.
  expect(outbox.pending.get()).toEqual([]);
  await server.admin('/unrevoke_user', { username: 'carol' });
  release();
  await client.signIn({ username: 'carol', password: PASSWORD });
  const { id } = await done;
  expect(await read('paused')).toMatchObject({ id, data: 'kept', username: 'carol' });
  expect(status.get().state).toBe('done');
});

test.each([false, true])('a deleted user leaves nothing that waits, also if the session has ended before the answer: %s', async (isLate) => {
  await server.user(`dave-${isLate}`);
  const { client, outbox } = await start(`dave-${isLate}`);
  holdInserts(async (path) => {
    if (isLate && path === '/delete_me') await client.me().catch(() => {});
  });
  const { done } = await outbox.enqueue('left', 'of dave');
  await client.deleteMe({ password: PASSWORD });
  expect(client.session.get()).toMatchObject({ status: 'signed-out', reason: 'deleted' });
  await expect(done).rejects.toMatchObject({ code: 'discarded' });
  await client.signIn({ username: 'alice', password: PASSWORD });
  expect(outbox.pending.get()).toEqual([]);
});

test('where a site may store nothing, changes are kept in memory and sent', async () => {
  const refuse = () => {
    throw new DOMException('The operation is insecure.', 'SecurityError');
  };
  Object.defineProperty(globalThis, 'indexedDB', { get: refuse, configurable: true });
  const { BroadcastChannel } = globalThis;
  Object.assign(globalThis, { BroadcastChannel: refuse });
  try {
    const { outbox } = await start();
    const { done } = await outbox.enqueue('insecure', 1);
    expect(outbox.status.get().durable).toBe(false);
    const { id } = await done;
    expect(await read('insecure')).toMatchObject({ id, data: 1 });
  } finally {
    Object.assign(globalThis, { BroadcastChannel });
  }
});

test('a change that cannot be sent is refused at once, and keeps no other from being sent', async () => {
  const { outbox } = await start();
  await expect(outbox.enqueue('header', 1, { key: 'ключ' })).rejects.toThrow(TypeError);
  await expect(outbox.enqueue('header', 1, { ifMatch: 'a\nb' })).rejects.toThrow(TypeError);
  expect(outbox.pending.get()).toEqual([]);
  const { done } = await outbox.enqueue('header', 2);
  const { id } = await done;
  expect(await read('header')).toMatchObject({ id, data: 2 });
});

test('what waits is read and told once for many changes, and not once for each', async () => {
  const { client, outbox } = await start();
  const lists = vi.spyOn(IDBIndex.prototype, 'getAll');
  vi.stubGlobal('fetch', async () => {
    throw new TypeError('no network');
  });
  let told = 0;
  outbox.pending.subscribe(() => told++);
  const names = Array.from({ length: 300 }, (_, at) => `many/${at}`);
  await Promise.all(names.map((name, at) => outbox.enqueue(name, at)));
  expect(outbox.pending.get().map(({ event }) => event)).toEqual(names);
  expect(lists.mock.calls.length).toBeLessThan(30);
  expect(told).toBeLessThan(3 * names.length);
  lists.mockRestore();
  vi.unstubAllGlobals();
  client.retry();
  const { done } = await outbox.enqueue('many/last', 1);
  await done;
  const events = await server.as(await server.token('bob'), '/events?events=many/*');
  expect(events).toHaveLength(301);
  // In order.
  expect(events.toSorted((a: any, b: any) => (a.id < b.id ? -1 : 1)).map((one: any) => one.event)).toEqual([...names, 'many/last']);
});

test('what another tab throws away at its sign-out is discarded here, too, also if the reason becomes known late', async () => {
  const map = new Map<string, string>();
  const listeners: ((event: { key: string; newValue: string | null }) => void)[] = [];
  vi.stubGlobal('addEventListener', (type: string, listener: (typeof listeners)[0]) => type === 'storage' && listeners.push(listener));
  const events: { key: string; newValue: string | null }[] = [];
  const storage = {
    getItem: (key: string) => map.get(key) ?? null,
    setItem: (key: string, newValue: string) => (map.set(key, newValue), events.push({ key, newValue })),
    removeItem: (key: string) => (map.delete(key), events.push({ key, newValue: null })),
  };
  const open = () => {
    const client = createClient({ url: server.url, auth: { storage }, transport: 'fetch', outbox: createOutbox() });
    clients.push(client);
    return client;
  };
  holdInserts();
  const one = open();
  await one.signIn({ username: 'alice', password: PASSWORD });
  const other = open();
  await until(other.session, ({ status }) => status === 'signed-in');
  const { done } = await other.outbox!.enqueue('thrown', 'away');
  events.length = 0;
  await one.signOut({ discard: true });
  // The removal is seen before it is known why, as by a renewal.
  expect(events.map(({ newValue }) => newValue)).toEqual(['{"reason":"signed-out"}', null]);
  listeners.at(-1)!(events[1]!);
  await until(other.session, ({ status }) => status === 'signed-out');
  listeners.at(-1)!(events[0]!);
  await expect(done).rejects.toMatchObject({ code: 'discarded' });
});

test('a name whose removal was late is shown again as soon as somebody inserts it', async () => {
  const { client, outbox } = await start();
  const store = client.latest('late');
  store.subscribe(() => {});
  await client.ready('late');
  const { done } = await outbox.remove('late');
  await done;
  const { id } = await server.as(await server.token('bob'), '/insert', { event: 'late', data: 'by bob' });
  await until(store, (item) => item?.id === id);
});
