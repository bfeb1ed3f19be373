// A client against the real server: signing in, listening, inserting, removing, presence, history.

import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { send } from '../src/http.js';
import { createClient, type Change, type Client, ConflictError } from '../src/index.js';
import { PASSWORD, startServer, until, type Server } from './server.js';

let server: Server;
const clients: Client[] = [];

beforeAll(async () => {
  server = await startServer();
  await server.user('alice');
  await server.user('bob');
});
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});
afterAll(() => server.stop());

async function client(username?: string): Promise<Client> {
  const made = createClient({ url: server.url, auth: { storage: 'memory' } });
  clients.push(made);
  if (username) await made.signIn({ username, password: PASSWORD });
  return made;
}

test('a client signs in, listens, and sees what it inserts and removes', async () => {
  const alice = await client('alice');
  expect(alice.session.get()).toMatchObject({ status: 'signed-in', user: 'alice' });
  const seen: Change[] = [];
  const removed = new Promise<void>((resolve) => {
    alice.on('todo/*', (change) => {
      seen.push(change);
      if (change.removed) resolve();
    });
  });
  await alice.ready('todo/*');
  const one = await alice.insert('todo/1', { text: 'milk' });
  const store = alice.latest('todo/1');
  await until(store, (item) => item?.id === one.id);
  expect(store.get()).toEqual({ event: 'todo/1', data: { text: 'milk' }, id: one.id, timestamp: one.timestamp, username: 'alice' });
  await alice.insertAll([
    { event: 'todo/3', data: 3 },
    { event: 'todo/2', data: 2 },
  ]);
  const all = alice.all('todo/*');
  await until(all, (items) => items.length === 3 && !items.some((item) => item.pending));
  expect(all.get().map((item) => item.event)).toEqual(['todo/1', 'todo/2', 'todo/3']);
  expect(all.get()).toBe(alice.all('todo/*').get());
  await alice.remove('todo/2');
  await until(all, (items) => items.length === 2);
  await removed;
  expect(seen.map(({ event, removed }) => [event, removed])).toEqual([
    ['todo/1', undefined],
    ['todo/3', undefined],
    ['todo/2', undefined],
    ['todo/2', true],
  ]);
});

test('two writers change a list, and no change is lost', async () => {
  const [alice, bob] = [await client('alice'), await client('bob')];
  await Promise.all(
    [alice, bob].flatMap((who) => Array.from({ length: 10 }, () => who.update('count', (count) => (count ?? 0) + 1))),
  );
  await alice.ready('count');
  expect(alice.latest('count').get()!.data).toBe(20);
  await expect(alice.insert('count', 0, { ifMatch: '0000000000000000000000' })).rejects.toBeInstanceOf(ConflictError);
  expect(alice.latest('count').get()!.data).toBe(20);
});

test('presence shows who is there, and who has gone', async () => {
  const [alice, bob] = [await client('alice'), await client('bob')];
  const people = alice.presence();
  const stop = people.subscribe(() => {});
  bob.on('x', () => {});
  await until(people, (list) => list.map((one) => one.username).join() === 'alice,bob');
  bob.close();
  await until(people, (list) => list.map((one) => one.username).join() === 'alice');
  stop();
});

test('the history is read page by page', async () => {
  const alice = await client('alice');
  for (let at = 0; at < 5; at++) await alice.insert('log', at, { transient: true });
  const seen: number[] = [];
  for await (const change of alice.history('log', { pageSize: 2 })) seen.push(change.data);
  expect(seen).toEqual([4, 3, 2, 1, 0]);
});

test('a wrong password is said, and nobody is signed in', async () => {
  const nobody = await client();
  await expect(nobody.signIn({ username: 'alice', password: 'wrong' })).rejects.toMatchObject({ code: 'unauthorized', status: 401 });
  expect(nobody.session.get().status).not.toBe('signed-in');
  nobody.on('x', () => {});
  expect((await until(nobody.connection, (state) => state.state === 'stopped')).reason).toBe('signed-out');
  await nobody.signIn({ username: 'alice', password: PASSWORD });
  await until(nobody.connection, (state) => state.state === 'live');
});

test('what the second listens to is added to the same stream', async () => {
  const alice = await client('alice');
  await alice.ready('a');
  alice.on('a', () => {});
  await alice.insert('b/1', 1);
  await alice.ready('b/*');
  const stop = alice.on('b/*', () => {});
  await until(alice.latest('b/1'), (item) => item?.data === 1);
  const token = await server.token('alice');
  expect(await server.as(token, '/presence')).toMatchObject([{ username: 'alice', streams: 1 }]);
  stop();
});

test('a name that no event can have disturbs nothing that is listened to', async () => {
  const alice = await client('alice');
  const seen: unknown[] = [];
  alice.on('good', ({ data }) => seen.push(data));
  const impossible = ['', ' ', 'bad\nname', 'x'.repeat(257), 'ü'.repeat(129), 'half of \ud83d', 'line\u2028separator'];
  for (const name of impossible) alice.on(name, () => {});
  await alice.ready('good');
  for (const name of impossible) await alice.ready(name);
  await alice.insert('good', 1);
  await until(alice.connection, ({ state }) => state === 'live');
  await until(alice.latest('good'), (item) => item?.data === 1);
  expect(seen).toEqual([1]);
  await expect(alice.insert('bad\nname', 1)).rejects.toMatchObject({ status: 400 });
  // The longest that there is.
  alice.on('ü'.repeat(128), ({ data }) => seen.push(data));
  await alice.ready('ü'.repeat(128));
  await alice.insert('ü'.repeat(128), 2);
  await until(alice.latest('ü'.repeat(128)), (item) => item?.data === 2);
});

test('an answer that came while the page slept is read, although its time is over', async () => {
  const token = await server.token('alice');
  const ask = () => send(`${server.url}/me`, { headers: { authorization: `Bearer ${token}` }, timeout: 100 });
  // The connection is there for the next request.
  await ask();
  const answer = ask();
  await new Promise(setImmediate);
  for (const end = performance.now() + 1000; performance.now() < end; ) /* sleep */;
  expect(await answer).toMatchObject({ username: 'alice' });
});
