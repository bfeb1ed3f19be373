// What stands between a client and Broker may answer in its place: captive portals, proxies, firewalls. Nothing is lost by what they
// say, and nobody is signed out.

import { createServer, request, type OutgoingHttpHeaders } from 'node:http';
import { IDBFactory, IDBKeyRange } from 'fake-indexeddb';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { createClient, NetworkError, type Client } from '../src/index.js';
import { createOutbox } from '../src/outbox/index.js';
import { PASSWORD, startServer, until, type Server } from './server.js';

interface Answer {
  status: number;
  body?: string;
  headers?: OutgoingHttpHeaders;
}

let server: Server;
/** Hands on what comes, unless `answer` has an answer of its own. */
let answer: ((path: string) => Answer | undefined) | undefined;
let paths: string[] = [];
const portal = createServer((incoming, outgoing) => {
  const path = incoming.url!.split('?')[0]!;
  paths.push(path);
  const own = answer?.(path);
  if (own) {
    incoming.resume();
    outgoing.writeHead(own.status, { 'content-type': 'text/html', ...own.headers }).end(own.body);
    return;
  }
  const { method, headers, url } = incoming;
  const onward = request(server.url + url, { method, headers }, (reply) => {
    outgoing.writeHead(reply.statusCode!, reply.headers);
    reply.pipe(outgoing);
  });
  onward.on('error', () => outgoing.destroy());
  outgoing.on('close', () => onward.destroy());
  incoming.pipe(onward);
});

let url: string;
let client: Client;
beforeAll(async () => {
  server = await startServer(['--access_expiry=900']);
  await server.user('alice');
  await new Promise<void>((done) => portal.listen(0, '127.0.0.1', done));
  url = `http://127.0.0.1:${(portal.address() as { port: number }).port}`;
});
afterAll(async () => {
  portal.closeAllConnections();
  portal.close();
  await server.stop();
});
beforeEach(async () => {
  Object.assign(globalThis, { indexedDB: new IDBFactory(), IDBKeyRange });
  answer = undefined;
  client = createClient({ url, auth: { storage: 'memory' }, transport: 'fetch', outbox: createOutbox() });
  await client.signIn({ username: 'alice', password: PASSWORD });
  paths = [];
});
afterEach(() => {
  client.close();
  Reflect.deleteProperty(globalThis, 'indexedDB');
});

const all = (own: Answer) => () => own;
const count = (path: string) => paths.filter((of) => of === path).length;
const page = '<html>Welcome to the hotel. Please accept the terms.</html>';

test.each<[string, Answer]>([
  ['an empty 200', { status: 200 }],
  ['a page', { status: 200, body: page }],
  ['JSON of something else', { status: 200, body: '{}' }],
  ['a list of nothing', { status: 200, body: '[]' }],
  ['a 401 that is not of Broker', { status: 401, body: page }],
  ['a 403 that is not of Broker', { status: 403, body: page }],
  ['a 404 that is not of Broker', { status: 404, body: '{"message":"no such route"}' }],
])('%s is no answer: inserts fail as without a network, and what waits goes on to wait', async (_, own) => {
  answer = all(own);
  const name = `between/${_.replaceAll(' ', '-')}`;
  const refused = [
    client.insert(name, 0),
    client.insertAll([{ event: name, data: 0 }, { event: name, data: 1 }]),
    client.remove(name),
    client.update(name, () => 1),
    client.history(name)[Symbol.asyncIterator]().next(),
  ];
  for (const result of await Promise.allSettled(refused)) expect(result).toMatchObject({ reason: expect.any(NetworkError) });
  const { done, status } = await client.outbox!.enqueue(name, 'kept');
  await until(client.outbox!.status, ({ state }) => state === 'waiting');
  expect(status.get().state).toBe('queued');
  expect(client.session.get()).toMatchObject({ status: 'signed-in', user: 'alice' });
  answer = undefined;
  const { id } = await done;
  expect(await server.as(await server.token('alice'), `/events?events=${name}`)).toMatchObject([{ id, data: 'kept' }]);
});

test('a stream that something else refuses comes back', async () => {
  answer = all({ status: 403, body: page });
  client.on('*', () => {});
  await until(client.connection, ({ state, reason }) => state === 'waiting' && reason === 'status_403');
  answer = undefined;
  client.retry();
  await until(client.connection, ({ state }) => state === 'live');
});

test('a change of the filter that something else answers is made all the same', async () => {
  client.on('one', () => {});
  await client.ready('one');
  answer = (path) => (path === '/subscription' ? { status: 200 } : undefined);
  client.on('two', () => {});
  await client.ready('two');
  expect(count('/sse')).toBe(2);
});

test('a proxy that takes nothing so large ends what waits: the same request would never be let through', async () => {
  answer = (path) => (path === '/insert' ? { status: 413, body: page } : undefined);
  const { done } = await client.outbox!.enqueue('between/large', 1);
  await expect(done).rejects.toMatchObject({ code: 'status_413', status: 413 });
});

test('a password follows no redirect', async () => {
  const asked: string[] = [];
  const elsewhere = createServer((incoming, outgoing) => {
    asked.push(incoming.url!);
    outgoing.end('{"jwt":"x"}');
  });
  await new Promise<void>((done) => elsewhere.listen(0, '127.0.0.1', done));
  answer = all({ status: 307, headers: { location: `http://127.0.0.1:${(elsewhere.address() as { port: number }).port}/login` } });
  await expect(client.signIn({ username: 'alice', password: PASSWORD })).rejects.toMatchObject({ code: 'network' });
  expect(asked).toEqual([]);
  elsewhere.close();
});

describe('a wait that nobody can mean', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test.each(['9999999', 'Infinity', '-9', '1e-9', 'Fri, 27 Nov 2026 06:00:00 GMT'])('retry-after: %s is no tight loop', async (value) => {
    let asked: () => void;
    let isAsked = new Promise<void>((resolve) => (asked = resolve));
    answer = (path) => {
      if (path === '/events') return;
      asked();
      return { status: 503, body: page, headers: { 'retry-after': value } };
    };
    client.on('*', () => {});
    await isAsked;
    isAsked = new Promise<void>((resolve) => (asked = resolve));
    await client.outbox!.enqueue('between/wait', 1);
    await until(client.outbox!.status, ({ state }) => state === 'waiting');
    await until(client.connection, ({ state }) => state === 'waiting');
    const waits = [client.connection.get().retryAt!, client.outbox!.status.get().retryAt!].map((at) => at - Date.now());
    for (const wait of waits) {
      expect(wait).toBeGreaterThanOrEqual(Number(value) > 1e6 ? 86_400_000 : 0);
      expect(wait).toBeLessThanOrEqual(2 * 86_400_000 + 30_000);
    }
  });
});
