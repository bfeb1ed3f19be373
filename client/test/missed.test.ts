// What comes and goes while a filter changes, a stream is cut off, or a client is closed: nothing is missed or taken for removed.

import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { createCache } from '../src/cache.js';
import { createClient, type Client } from '../src/index.js';
import { createInterest } from '../src/interest.js';
import type { Source } from '../src/source.js';
import type { Change, ClientOptions, Item } from '../src/types.js';
import { startProxy, type Proxy } from './proxy.js';
import { requests } from './requests.js';
import { same } from './same.js';
import { PASSWORD, startServer, until, type Server } from './server.js';
import { ALL_TRANSPORTS, withGlobals } from './transports.js';

let server: Server;
let proxy: Proxy;
let client: Client<any>;
let token: string;
const insert = (event: string, data: unknown) => server.as(token, '/insert', { event, data });
const reaches = (state: string) => until(client.connection, (connection) => connection.state === state);

beforeAll(async () => {
  server = await startServer();
  await server.user('alice');
  token = await server.token('alice');
});
afterEach(async () => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  client.close();
});
afterAll(() => server.stop());

async function begin(options: Partial<ClientOptions> = {}) {
  proxy = await startProxy(server.port);
  client = createClient({ url: proxy.url, auth: { storage: 'memory' }, ...options });
  await client.signIn({ username: 'alice', password: PASSWORD });
}

test('who listens to one more thing while offline misses nothing', async () => {
  await begin();
  await insert('profile', 'there before');
  const seen: unknown[] = [];
  const resets: string[] = [];
  client.onReset((reason) => resets.push(reason));
  client.on('room/1', ({ data }) => seen.push(data));
  await client.ready('room/1');
  await insert('room/1', 'one');
  await until(client.latest('room/1'), (item) => item?.data === 'one');
  proxy.cut();
  await reaches('waiting');
  client.on('profile', () => {});
  for (const data of ['two', 'three', 'four']) await insert('room/1', data);
  await client.ready('profile');
  await until(client.latest('room/1'), (item) => item?.data === 'four');
  expect(seen).toEqual(['one', 'two', 'three', 'four']);
  expect(client.latest('profile').get()?.data).toBe('there before');
  expect(resets).toEqual([]);
});

test('a stream that cannot be resumed says that there may be a gap', async () => {
  await begin();
  const resets: string[] = [];
  client.onReset((reason) => resets.push(reason));
  client.on('gap/1', () => {});
  await client.ready('gap/1');
  expect(resets).toEqual([]);
  // It is widened, and cut off before that is in sync.
  proxy.areStreamsHeld = true;
  const changes = requests('/subscription');
  client.on('gap/2', () => {});
  await changes.reach(1);
  await insert('gap/1', 1);
  proxy.cut();
  await reaches('waiting');
  proxy.areStreamsHeld = false;
  await client.ready('gap/2');
  expect(resets).toEqual(['gap']);
});

test('a filter that is too long for a request is resumed without a removal', async () => {
  await begin();
  const names = Array.from({ length: 400 }, (_, at) => `item/with-a-long-name-indeed-${at}`);
  await client.insertAll(names.slice(0, 50).map((event, data) => ({ event, data })), { optimistic: false });
  const removed: Change[] = [];
  for (const name of names) client.on(name, (change) => change.removed && removed.push(change));
  await client.ready(names[0]!);
  const gap = new Promise((resolve) => client.onReset(resolve));
  // A stream without names is in sync at once, and that means nothing.
  const live: boolean[] = [];
  client.connection.subscribe(() => client.connection.get().state === 'live' && live.push(client.isReady(names[0]!)));
  proxy.cut();
  expect(await gap).toBe('gap');
  await insert(names[0]!, 'again');
  await until(client.latest(names[0]!), (item) => item?.data === 'again');
  await reaches('live');
  expect(live).toEqual([true]);
  expect(removed).toEqual([]);
  expect(client.latest(names[49]!).get()?.data).toBe(49);
});

test('what nobody listens to any more was not removed', () => {
  const cache = createCache(() => true);
  const seen: Change[] = [];
  cache.on('*', (change) => seen.push(change));
  const change = { event: 'todo/1', id: '5', data: 1, timestamp: 1, username: 'alice' };
  cache.take({ kind: 'event', change });
  cache.take({ kind: 'synced', id: '5', events: ['todo/*'] });
  cache.take({ kind: 'synced', id: '5', events: ['other/*'] });
  expect(cache.latest('todo/1')).toBeUndefined();
  expect(seen.filter(({ removed }) => removed)).toEqual([]);
});

test('what was there before the stream is told to listeners once, when the stream has brought it', async () => {
  const cache = createCache(() => true);
  const [there, gone] = ['there', 'gone'].map((event) => ({ event, id: '5', data: 1, timestamp: 1, username: 'alice' }));
  cache.seed([there!, gone!]);
  const seen: Change[] = [];
  const kept: Change[] = [];
  cache.on('*', (change) => seen.push(change));
  cache.onItem((change) => kept.push(change));
  await undefined;
  for (let streams = 0; streams < 2; streams++) {
    cache.take({ kind: 'fresh' });
    cache.take({ kind: 'event', change: there! });
    cache.take({ kind: 'synced', id: '5', events: ['*'] });
  }
  // Who keeps them on a disk has to know what is gone; who listens was never told that it was there.
  expect(seen).toEqual([there]);
  expect(kept).toMatchObject([{ event: 'there' }, { event: 'gone', removed: true }]);
});

test('who begins to listen while everything is sent again hears what has not changed', async () => {
  const cache = createCache(() => true);
  const change = { event: 'todo/1', id: '5', data: 1, timestamp: 1, username: 'alice' };
  cache.take({ kind: 'fresh' });
  cache.take({ kind: 'event', change });
  cache.take({ kind: 'synced', id: '5', events: ['*'] });
  cache.take({ kind: 'fresh' });
  const seen: Change[] = [];
  cache.on('*', (change) => seen.push(change));
  await undefined;
  cache.take({ kind: 'event', change });
  cache.take({ kind: 'synced', id: '5', events: ['*'] });
  expect(seen).toEqual([change]);
});

test('an event of a page that a server has rendered is told to its listeners', async () => {
  for (const event of ['seed/1', 'seed/2']) await insert(event, event);
  const initialEvents: Item[] = await server.as(token, '/events?events=seed/*');
  await begin({ initialEvents });
  const seen: unknown[] = [];
  client.on('seed/*', ({ data }) => seen.push(data));
  await client.ready('seed/*');
  expect(seen).toEqual(['seed/1', 'seed/2']);
});

/** A source that keeps what is wanted of it. */
const sourceOf = (filters: string[][]): Source => ({ want: ({ events }) => void filters.push([...events]), retry() {}, wake() {}, tick() {}, close() {} });

test('a list that is scrolled does not end in a filter of everything', async () => {
  vi.useFakeTimers();
  const filters: string[][] = [];
  const interest = createInterest(() => sourceOf(filters));
  const rows: (() => void)[] = [];
  for (let row = 0; row < 3000; row++) {
    rows.push(interest.add(`row/${row}`));
    if (rows.length > 20) rows.shift()!();
    await vi.advanceTimersByTimeAsync(10);
  }
  expect(Math.max(...filters.map(({ length }) => length))).toBeLessThan(250);
  expect(filters.flat()).not.toContain('*');
  for (const stop of rows) stop();
  vi.advanceTimersByTime(2500);
  expect(filters.at(-1)).toEqual([]);
  expect(vi.getTimerCount()).toBe(0);
});

test('what is listened to again within a second was never let go', async () => {
  vi.useFakeTimers();
  const filters: string[][] = [];
  const interest = createInterest(() => sourceOf(filters));
  for (let at = 0; at < 50; at++) {
    const stop = interest.add('page');
    await vi.advanceTimersByTimeAsync(300);
    stop();
    await vi.advanceTimersByTimeAsync(990);
  }
  expect(filters.filter(({ length }) => !length)).toEqual([]);
});

test('a value that is acknowledged stays while a stream that died is not noticed', () => {
  vi.useFakeTimers();
  const cache = createCache(() => true);
  cache.take({ kind: 'state', connection: { state: 'live', stale: false } });
  cache.take({ kind: 'synced', id: '5', events: ['title'] });
  cache.overlay('title', 'new', 'alice').accepted('6');
  vi.advanceTimersByTime(32_000);
  expect(cache.latest('title')?.data).toBe('new');
  vi.advanceTimersByTime(10_000);
  expect(cache.latest('title')).toBeUndefined();
  // One that the stream has already is not waited for.
  cache.overlay('title', 'new', 'alice').accepted('5');
  expect(vi.getTimerCount()).toBe(0);
});

test('who is online for one user is not told to the next', () => {
  const cache = createCache(() => true);
  cache.take({ kind: 'crowd' });
  cache.take({ kind: 'online', username: 'alice', present: { username: 'alice', since: 1, streams: 1 } });
  cache.wipe();
  cache.take({ kind: 'synced', id: '5', events: ['*'] });
  expect(cache.presence.get()).toEqual([]);
});

test('a second device does not get the stream that the first has just lost, and both stay', async () => {
  await begin();
  client.on('device', () => {});
  await client.ready('device');
  proxy.cut();
  await reaches('waiting');
  const other = createClient({ url: server.url, auth: { storage: 'memory' } });
  await other.signIn({ username: 'alice', password: PASSWORD });
  other.on('device', () => {});
  await other.ready('device');
  const states: string[] = [];
  other.connection.subscribe(() => states.push(other.connection.get().state));
  client.retry();
  await reaches('live');
  await insert('device', 'both');
  for (const one of [client, other]) await until(one.latest('device'), (item) => item?.data === 'both');
  expect(states).toEqual([]);
  other.close();
});

test.each(['fetch', 'websocket'] as const)('a client whose stream another takes over goes on with one of its own: %s', async (transport) => {
  const undo = withGlobals(ALL_TRANSPORTS);
  await begin({ transport });
  client.on('mine', () => {});
  await client.ready('mine');
  // Its id stands in what its inserts are sent with.
  const fetch = vi.spyOn(globalThis, 'fetch');
  await client.insert('typing', true, { whileConnected: true });
  const id = (fetch.mock.calls.at(-1)![1]!.headers as Record<string, string>)['broker-stream'];
  fetch.mockRestore();
  const taken = until(client.connection, ({ reason }) => reason === 'replaced');
  const abort = new AbortController();
  const reply = await globalThis.fetch(`${server.url}/sse?marks=true&stream=${id}`, {
    headers: { authorization: `Bearer ${token}` },
    signal: abort.signal,
  });
  expect(reply.headers.get('broker-stream')).toBe(id);
  await taken;
  await reaches('live');
  await insert('mine', 'back');
  await until(client.latest('mine'), (item) => item?.data === 'back');
  const other = vi.spyOn(globalThis, 'fetch');
  await client.insert('typing', true, { whileConnected: true });
  expect((other.mock.calls.at(-1)![1]!.headers as Record<string, string>)['broker-stream']).not.toBe(id);
  other.mockRestore();
  abort.abort();
  undo();
});

test('a stream that the server has not given up yet is taken over, with what ends with it', async () => {
  await begin();
  proxy.isCutUnnoticed = true;
  client.on('kept/*', () => {});
  await client.ready('kept/*');
  await client.insert('kept/typing', true, { whileConnected: true });
  for (let cuts = 1; cuts <= 3; cuts++) {
    proxy.cut();
    await reaches('waiting');
    client.retry();
    await reaches('live');
    expect(proxy.streams).toBe(1 + cuts);
    expect(await server.as(token, '/presence')).toMatchObject([{ username: 'alice', streams: 1 }]);
  }
  expect(await server.as(token, '/events?events=kept/*')).toMatchObject([{ event: 'kept/typing', data: true }]);
});

describe('a server that comes back with an old backup', () => {
  let restore: () => void;
  beforeAll(async () => {
    await insert('old/1', 'old');
    await server.terminate();
    restore = server.backup();
    await server.start();
  });

  test.each(['fetch', 'xhr', 'websocket', 'eventsource'] as const)('says so, and nothing of the lost time is left: %s', async (transport) => {
    const undo = withGlobals(ALL_TRANSPORTS);
    proxy = await startProxy(server.port);
    client = createClient({ url: proxy.url, auth: { token }, transport });
    const resets: unknown[] = [];
    const reset = new Promise<void>((resolve) => {
      client.onReset((reason) => {
        resets.push([reason, client.latest('old/3').get()]);
        resolve();
      });
    });
    const heard = new Map<string, unknown>();
    client.on('old/*', ({ event, data, removed }) => (removed ? heard.delete(event) : heard.set(event, data)));
    await client.ready('old/*');
    await client.insert('old/1', 'new');
    await client.insert('old/2', 'lost');
    await same(client, server, token, 'old/*');
    expect(resets).toEqual([]);
    // It is acknowledged, and the stream has not brought it.
    proxy.areStreamsHeld = true;
    await client.insert('old/3', 'lost, too');
    expect(client.latest('old/3').get()).toMatchObject({ data: 'lost, too', pending: true });

    await server.kill();
    restore();
    proxy.areStreamsHeld = false;
    await server.start();
    client.retry();
    await reset;
    await same(client, server, token, 'old/*');
    // What was acknowledged is of another time, and is not waited for.
    expect(resets).toEqual([['unknown_id', undefined]]);
    expect(client.all('old/*').get()).toMatchObject([{ event: 'old/1', data: 'old' }]);
    await insert('old/4', 'after');
    await same(client, server, token, 'old/*');
    expect([...heard].sort()).toEqual([
      ['old/1', 'old'],
      ['old/4', 'after'],
    ]);
    undo();
  });
});

test('a client that is closed is idle', async () => {
  await begin();
  client.on('x', () => {});
  await client.ready('x');
  client.close();
  expect(client.connection.get()).toEqual({ state: 'idle', stale: true });
});

test('a transport that is not there is waited for, and does not end the program', async () => {
  for (const transport of ['websocket', 'eventsource'] as const) {
    vi.stubGlobal(transport === 'websocket' ? 'WebSocket' : 'EventSource', undefined);
    await begin({ transport });
    client.on('x', () => {});
    await reaches('waiting');
    expect(client.connection.get().reason).toBe('no_stream');
    client.close();
    vi.unstubAllGlobals();
  }
});
