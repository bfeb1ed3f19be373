// Each write happens once, whatever becomes of its answer, nothing cancels it unasked, and who has no network is told soon.

import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { createClient, NetworkError, type Client } from '../src/index.js';
import { PASSWORD, startServer, type Server } from './server.js';

let server: Server;
let client: Client<any>;
let token: string;

beforeAll(async () => {
  server = await startServer();
  for (const name of ['alice', 'bob']) await server.user(name);
  token = await server.token('bob');
  client = createClient({ url: server.url, auth: { storage: 'memory' }, transport: 'fetch' });
  await client.signIn({ username: 'alice', password: PASSWORD });
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});
afterAll(async () => {
  client.close();
  await server.stop();
});

/** What has happened under a name, the oldest first. */
async function historyOf(event: string): Promise<unknown[]> {
  const { events } = await server.as(token, `/history?event=${event}&order=oldest`);
  return events.map(({ data, removed }: { data: unknown; removed?: true }) => (removed ? 'removed' : data));
}

/** Requests of a path are sent, and then go as this says. Gives the idempotency keys that they had. */
function meanwhile(path: string, then: (count: number) => unknown) {
  const { fetch } = globalThis;
  const keys: unknown[] = [];
  vi.spyOn(globalThis, 'fetch').mockImplementation(async (url, init) => {
    const reply = await fetch(url, init);
    if (new URL(String(url)).pathname !== path) return reply;
    await then(keys.push(new Headers(init?.headers).get('idempotency-key')));
    return reply;
  });
  return keys;
}

test.each([
  ['insert', '/insert', (name: string) => client.insert(name, 1), ['before', 1]],
  ['insertAll', '/insert', (name: string) => client.insertAll([1, 2].map((data) => ({ event: name, data }))), ['before', 1, 2]],
  ['update', '/insert', (name: string) => client.update(name, (text) => `${text}, and after`), ['before', 'before, and after']],
  ['remove', '/remove', (name: string) => client.remove(name), ['before', 'removed']],
] as const)('%s is sent again with the same key if its answer is lost, and happens once', async (name, path, write, expected) => {
  const event = `lost/${name}`;
  await server.as(token, '/insert', { event, data: 'before' });
  const keys = meanwhile(path, (count) => count === 1 && Promise.reject(new TypeError('the network is gone')));
  await write(event);
  expect(keys).toHaveLength(2);
  expect(keys[0]).toBeTruthy();
  expect(keys[1]).toBe(keys[0]);
  expect(await historyOf(event)).toEqual(expected);
});

test('two writes have two keys', async () => {
  const keys = meanwhile('/insert', () => {});
  await Promise.all([client.insert('keys', 1), client.insert('keys', 1)]);
  expect(new Set(keys).size).toBe(2);
  expect(await historyOf('keys')).toEqual([1, 1]);
});

test('without a network an insert is refused within three seconds, and its value is taken back', async () => {
  const store = client.latest('away');
  const stop = store.subscribe(() => {});
  await client.ready('away');
  let tries = 0;
  const { fetch } = globalThis;
  vi.spyOn(globalThis, 'fetch').mockImplementation(async (...request) => {
    if (!String(request[0]).endsWith('/insert')) return fetch(...request);
    tries++;
    throw new TypeError('no network');
  });
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  let error: unknown;
  client.insert('away', 1).catch((reason) => (error = reason));
  expect(store.get()).toMatchObject({ data: 1, pending: true });
  await vi.advanceTimersByTimeAsync(3000);
  expect(error).toBeInstanceOf(NetworkError);
  expect(error).toMatchObject({ code: 'network', retryable: true });
  expect(tries).toBeGreaterThan(1);
  expect(store.get()).toBeUndefined();
  stop();
});

test('an insert that is under way when the client is closed is answered', async () => {
  const own = createClient<any>({ url: server.url, auth: { token: await server.token('alice') } });
  meanwhile('/insert', () => own.close());
  const { id } = await own.insert('closing', 1);
  expect(id).toBeTruthy();
  expect(await historyOf('closing')).toEqual([1]);
});

test('requests that are the same do not cancel each other', async () => {
  const all = await Promise.all(Array.from({ length: 3 }, () => client.me()));
  expect(all.map(({ username }) => username)).toEqual(['alice', 'alice', 'alice']);
});
