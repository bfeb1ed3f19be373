// Values are shown before the server has acknowledged them, do not flicker when it does, and are taken back if it refuses.
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { createClient, type Client } from '../src/index.js';
import { createGate } from './gate.js';
import { PASSWORD, startServer, until, type Server } from './server.js';

let server: Server;
let client: Client;
const realFetch = globalThis.fetch;
beforeAll(async () => {
  server = await startServer(['--authorize=scopes']);
  await server.user('alice', { scopes: ['*:get', '*:post'] });
  await server.user('bob', { scopes: ['*:get', '*:post'] });
  await server.user('poster', { scopes: ['news:get', 'todo/*:post'] });
});
afterAll(() => server.stop());
afterEach(() => {
  client.close();
  globalThis.fetch = realFetch;
});

async function signedIn(username: string) {
  client = createClient({ url: server.url, auth: { storage: 'memory' }, transport: 'fetch' });
  await client.signIn({ username, password: PASSWORD });
  return client;
}

/** Everything that a store has shown to those who look at it. */
function watch(name: string) {
  const store = client.latest(name);
  const seen: [data: unknown, isPending: boolean][] = [];
  store.subscribe(() => {
    const item = store.get();
    seen.push([item?.data, !!item?.pending]);
  });
  return { store, seen };
}

/** Delays answers, and pieces of streams, each by another time. */
function delayAnswers(most: number) {
  const pause = () => new Promise((resolve) => setTimeout(resolve, Math.random() * most));
  globalThis.fetch = async (input, init) => {
    const reply = await realFetch(input, init);
    const isStream = String(input).includes('/sse');
    if (!isStream) await pause();
    if (!isStream || !reply.body) return reply;
    const body = reply.body.pipeThrough(
      new TransformStream<Uint8Array, Uint8Array>({
        async transform(chunk, controller) {
          await pause();
          controller.enqueue(chunk);
        },
      }),
    );
    return new Response(body, { status: reply.status, headers: reply.headers });
  };
}

test('a value is shown at once as pending, and then as the server has it', async () => {
  const client = await signedIn('alice');
  const { store, seen } = watch('title');
  await client.ready('title');
  const inserted = client.insert('title', 'new');
  expect(store.get()).toMatchObject({ data: 'new', pending: true, username: 'alice' });
  const { id } = await inserted;
  await until(store, (item) => item?.id === id);
  expect(store.get()).not.toHaveProperty('pending');
  expect(seen).toEqual([
    ['new', true],
    ['new', false],
  ]);
});

test('values do not flicker, whichever is first: the answer or the stream', async () => {
  delayAnswers(30);
  const client = await signedIn('alice');
  const other = await server.token('bob');
  const { store, seen } = watch('counter');
  await client.ready('counter');
  const inserts: Promise<unknown>[] = [];
  for (let n = 1; n <= 40; n++) {
    // Every third waits for the one before, so that both orders come about.
    if (n % 3) await inserts.at(-1);
    inserts.push(client.insert('counter', n));
    if (n % 5 === 0) await server.as(other, '/insert', { event: 'of/others', data: n });
  }
  await Promise.all(inserts);
  await until(store, (item) => item?.data === 40 && !item.pending);
  // Requests that are under way at the same time may change places. What counts is the server's order.
  const order: unknown[] = [];
  for await (const { data } of client.history('counter', { order: 'oldest' })) order.push(data);
  expect(order).toHaveLength(40);
  const places = seen.map(([data]) => order.indexOf(data));
  // Nothing vanishes, and what was shown never gives way to something older.
  expect(places).not.toContain(-1);
  expect(places).toEqual([...places].sort((a, b) => a - b));
});

test("somebody else's change does not show through a value that is pending", async () => {
  const client = await signedIn('alice');
  const other = await server.token('bob');
  const { store, seen } = watch('shared');
  await client.ready('shared');
  await server.as(other, '/insert', { event: 'shared', data: 'first' });
  await until(store, (item) => item?.data === 'first');
  // The answer is held back until the other's later event has come.
  const [answer, arrival] = [createGate(), createGate()];
  globalThis.fetch = async (input, init) => {
    const reply = await realFetch(input, init);
    if (!String(input).endsWith('/insert')) return reply;
    arrival.open();
    await answer.isOpen;
    return reply;
  };
  const mine = client.insert('shared', 'mine');
  await arrival.isOpen;
  globalThis.fetch = realFetch;
  const later = await server.as(other, '/insert', { event: 'shared', data: 'theirs, later' });
  const told = new Promise<void>((resolve) => client.on('shared', ({ id }) => id === later.id && resolve()));
  await told;
  expect(store.get()).toMatchObject({ data: 'mine', pending: true });
  answer.open();
  await mine;
  await until(store, (item) => item?.id === later.id);
  expect(seen.map(([data]) => data)).toEqual(['first', 'mine', 'theirs, later']);
});

test('a value that is refused is taken back', async () => {
  const client = await signedIn('alice');
  const { store, seen } = watch('draft');
  await client.ready('draft');
  await client.insert('draft', 'kept');
  await until(store, (item) => item?.pending === undefined && item?.data === 'kept');
  seen.length = 0;
  await expect(client.insert('draft', 'late', { ifNoneMatch: true })).rejects.toMatchObject({ code: 'precondition_failed' });
  await until(store, (item) => item?.data === 'kept');
  expect(seen).toEqual([
    ['late', true],
    ['kept', false],
  ]);
});

test('a removed event vanishes at once, and comes back only if the removal is refused', async () => {
  const client = await signedIn('alice');
  const { store, seen } = watch('gone');
  await client.ready('gone');
  const { id } = await client.insert('gone', 1);
  await until(store, (item) => item?.id === id);
  seen.length = 0;
  await expect(client.remove('gone', { ifMatch: id.replace(/.{7}$/, (end) => String(Number(end) + 1).padStart(7, '0')) })).rejects.toThrow();
  await until(store, (item) => item?.id === id);
  expect(seen).toEqual([
    [undefined, false],
    [1, false],
  ]);
  seen.length = 0;
  const removed = client.remove('gone');
  expect(store.get()).toBeUndefined();
  await removed;
  // What comes after it has come, too.
  const after = client.latest('after');
  after.subscribe(() => {});
  await client.insert('after', 1);
  await until(after, (item) => item !== undefined && !item.pending);
  expect(seen.every(([data]) => data === undefined)).toBe(true);
});

test('of two values that are pending the later is shown, whatever becomes of the first', async () => {
  const client = await signedIn('alice');
  const { store, seen } = watch('twice');
  await client.ready('twice');
  const refused = client.insert('twice', 1, { ifMatch: 'nonsense' }).catch(() => {});
  const accepted = client.insert('twice', 2);
  await refused;
  await accepted;
  await until(store, (item) => item?.data === 2 && !item.pending);
  expect(seen.map(([data]) => data).filter((data) => data !== 2)).toEqual([]);
});

test('a value that its own user may not read does not stay for ever', async () => {
  const client = await signedIn('poster');
  const { store } = watch('todo/1');
  await client.ready('todo/1');
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  await client.insert('todo/1', 'not for me');
  expect(store.get()).toMatchObject({ pending: true });
  // A live stream would have brought it.
  vi.advanceTimersByTime(36_000);
  expect(store.get()).toBeUndefined();
  vi.useRealTimers();
});
