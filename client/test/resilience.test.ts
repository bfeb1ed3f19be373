// A stream that dies in silence, a server that is killed, a machine that sleeps, a clock that is wrong.

import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { WebSocketServer } from 'ws';
import { createConnection } from '../src/connection.js';
import { createClient, type Client, type ConnectionState } from '../src/index.js';
import type { OpenStream, StreamEvents } from '../src/transports/transport.js';
import { startProxy } from './proxy.js';
import { same } from './same.js';
import { startServer, until, type Server } from './server.js';
import { ALL_TRANSPORTS, NodeXhr, withGlobals } from './transports.js';

let server: Server;
let token: string;
const ends: (() => unknown)[] = [];

beforeAll(async () => {
  server = await startServer();
  await server.user('alice');
  token = await server.token('alice');
});
afterEach(async () => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  for (const end of ends.splice(0)) await end();
});
afterAll(() => server.stop());

function clientOf(url: string, options: Partial<Parameters<typeof createClient>[0]> = {}): Client {
  const client = createClient({ url, auth: { token }, ...options });
  ends.unshift(() => client.close());
  return client;
}

const reaches = (client: Client, state: ConnectionState) => until(client.connection, (connection) => connection.state === state);

/** The clocks stand still but for what a test does; sockets go on. */
const fakeClock = () => vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance', 'Date'] });

const realTimeout = setTimeout;
/** Sockets have a moment of real time. */
const moment = () => new Promise<void>((resolve) => realTimeout(resolve, 10));

/**
 * Resolves when the client is in this state, while its time goes on by steps of a second. The time stands still while an answer is due
 * that brings the client nearer to it, however long a slow machine takes for that.
 */
async function advancedTo(client: Client, state: ConnectionState, seconds: number) {
  const way: ConnectionState[] = ['connecting', 'syncing', 'live'];
  for (let at = 0; ; ) {
    const is = client.connection.get().state;
    if (is === state) return;
    if (way.includes(is) && way.indexOf(is) < way.indexOf(state)) await until(client.connection, (now) => now.state !== is);
    else {
      expect(at++, `seconds in which it is ${is}, and not ${state}`).toBeLessThan(seconds);
      await vi.advanceTimersByTimeAsync(1000);
      await moment();
    }
  }
}

test('a server that is killed and started again is found again, and nothing is missed', async () => {
  const own = await startServer();
  ends.push(() => own.stop());
  await own.user('alice');
  const alice = await own.token('alice');
  const client = clientOf(own.url, { auth: { token: alice } });
  const seen: unknown[] = [];
  client.on('x', ({ data }) => seen.push(data));
  await client.ready('x');
  await client.insert('x', 1);
  await same(client, own, alice, 'x');
  await own.kill();
  const waiting = await reaches(client, 'waiting');
  expect(waiting).toMatchObject({ reason: 'stream_broken', stale: true });
  expect(waiting.retryAt).toBeGreaterThan(Date.now() - 1000);
  expect(client.latest('x').get()!.data).toBe(1);
  await own.start();
  await own.as(alice, '/insert', { event: 'x', data: 2 });
  await same(client, own, alice, 'x');
  expect(seen).toEqual([1, 2]);
});

test('a server that stops in order says so, and the client waits as long as it asks', async () => {
  const own = await startServer();
  ends.push(() => own.stop());
  await own.user('alice');
  const client = clientOf(own.url, { auth: { token: await own.token('alice') } });
  client.on('x', () => {});
  await client.ready('x');
  vi.spyOn(Math, 'random').mockReturnValue(0);
  vi.useFakeTimers({ toFake: ['Date'] });
  const gone = reaches(client, 'waiting');
  await own.terminate();
  // One second, which the server asks for, with a millisecond to spread its streams over, and what every wait is.
  const { reason, retryAt } = await gone;
  expect(reason).toBe('stopping');
  expect(retryAt! - Date.now()).toBeGreaterThanOrEqual(1200);
  expect(retryAt! - Date.now()).toBeLessThan(1300);
  await own.start();
  await reaches(client, 'live');
});

test.each([
  [429, 'fetch'],
  [503, 'fetch'],
  [429, 'xhr'],
  [503, 'xhr'],
  [429, 'eventsource'],
] as const)('a stream that is refused with %i waits as long as the server asks: %s', async (status, transport) => {
  ends.push(withGlobals(ALL_TRANSPORTS));
  const url = await serve((_, reply) => {
    reply.writeHead(status, { 'retry-after': '7' });
    reply.end(JSON.stringify({ error: 'later', code: 'busy' }));
  });
  vi.spyOn(Math, 'random').mockReturnValue(0);
  vi.useFakeTimers({ toFake: ['Date'] });
  const client = clientOf(url, { transport });
  client.on('x', () => {});
  expect(await reaches(client, 'waiting')).toMatchObject({ reason: 'busy', retryAt: Date.now() + 7200 });
});

test('a black hole is noticed after 30 seconds of silence, and left', async () => {
  const proxy = await startProxy(server.port);
  const client = clientOf(proxy.url);
  client.on('x', () => {});
  fakeClock();
  await advancedTo(client, 'live', 5);
  proxy.isSilent = true;
  await vi.advanceTimersByTimeAsync(29_000);
  expect(client.connection.get().state).toBe('live');
  await advancedTo(client, 'waiting', 8);
  expect(client.connection.get()).toMatchObject({ reason: 'silent', stale: true });
  // Nor does it come back through it.
  await advancedTo(client, 'connecting', 5);
  proxy.isSilent = false;
  proxy.cut();
  await advancedTo(client, 'live', 40);
});

/** A made-up server. Gives its address. */
async function serve(answer: RequestListener): Promise<string> {
  const http = createServer(answer);
  await new Promise<void>((done) => http.listen(0, '127.0.0.1', done));
  ends.push(() => {
    http.closeAllConnections();
    http.close();
  });
  return `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
}

/** A server of one quiet stream, whose heart beats when it is told to. */
async function quiet(isInSync = true) {
  const reads = vi.spyOn(TextDecoder.prototype, 'decode');
  const streams: ServerResponse[] = [];
  const url = await serve((request, reply) => {
    if (!request.url!.startsWith('/sse')) return void reply.end('{}');
    streams.push(reply);
    reply.writeHead(200, { 'content-type': 'text/event-stream' });
    reply.write(isInSync ? 'event:$synced\nid:1\ndata:{"id":"1"}\n\n' : ':\n');
  });
  return {
    url,
    streams,
    /** So many heartbeats, twelve seconds after each other. */
    async beats(count: number) {
      for (let at = 0; at < count; at++) {
        await vi.advanceTimersByTimeAsync(12_000);
        const before = reads.mock.calls.length;
        streams.at(-1)!.write(':\n');
        while (reads.mock.calls.length === before) await new Promise(setImmediate);
      }
    },
  };
}

test('heartbeats are life: a quiet stream is not left', async () => {
  const { url, streams, beats } = await quiet();
  const client = clientOf(url);
  fakeClock();
  client.on('x', () => {});
  await advancedTo(client, 'live', 5);
  await beats(10);
  expect(client.connection.get().state).toBe('live');
  expect(streams.length).toBe(1);
});

test('after 30 seconds of sleep a stream that still lives goes on, and one that died is left', async () => {
  const proxy = await startProxy(server.port);
  const client = clientOf(proxy.url);
  fakeClock();
  client.on('x', () => {});
  await advancedTo(client, 'live', 5);
  // The machine slept: no timer ran, and the first tick comes late. What came meanwhile is read only after it.
  let slept = 0;
  const before = performance.now.bind(performance);
  vi.spyOn(performance, 'now').mockImplementation(() => before() + slept);
  const sleep = async () => {
    slept += 31_000;
    // Until the late tick, which makes another timer.
    for (const timers = vi.getTimerCount(); vi.getTimerCount() === timers; ) await vi.advanceTimersByTimeAsync(100);
  };
  await sleep();
  expect(client.connection.get().state).toBe('live');
  await server.as(token, '/insert', { event: 'x', data: 'life' });
  await until(client.latest('x'), (item) => item?.data === 'life');
  await vi.advanceTimersByTimeAsync(10_000);
  expect(client.connection.get().state).toBe('live');
  expect(proxy.streams).toBe(1);
  proxy.isSilent = true;
  await sleep();
  await advancedTo(client, 'waiting', 3);
  proxy.isSilent = false;
});

test('a stream that died while the machine slept is left soon after', async () => {
  const proxy = await startProxy(server.port);
  const client = clientOf(proxy.url);
  fakeClock();
  client.on('x', () => {});
  await advancedTo(client, 'live', 5);
  proxy.isSilent = true;
  // The monotonic clock stood still as well: only the clock of the wall tells.
  vi.setSystemTime(Date.now() + 3_600_000);
  await advancedTo(client, 'waiting', 20);
  proxy.isSilent = false;
  proxy.cut();
  await advancedTo(client, 'live', 40);
});

for (const [name, shift] of [
  ['a day ahead', 86_400_000],
  ['a day back', -86_400_000],
] as const) {
  test(`a clock that is set ${name} ends no stream that lives`, async () => {
    const { url, streams, beats } = await quiet();
    const client = clientOf(url);
    fakeClock();
    client.on('x', () => {});
    await advancedTo(client, 'live', 5);
    const states: string[] = [];
    client.connection.subscribe(() => states.push(client.connection.get().state));
    vi.setSystemTime(Date.now() + shift);
    await beats(5);
    expect(states).toEqual([]);
    expect(streams.length).toBe(1);
  });
}

test('a transport that is stalled behind its head is left for another', async () => {
  const undo = withGlobals(ALL_TRANSPORTS);
  ends.push(undo);
  const proxy = await startProxy(server.port);
  proxy.isStalled = true;
  const client = clientOf(proxy.url);
  fakeClock();
  client.on('x', () => {});
  await advancedTo(client, 'syncing', 5);
  await advancedTo(client, 'waiting', 20);
  // What such a proxy hands on is tried at once.
  await advancedTo(client, 'live', 20);
  expect(proxy.requests.map((line) => /sse|ws/.exec(line)![0])).toEqual(['sse', 'ws']);
});

test.each(['fetch', 'xhr', 'websocket', 'eventsource'] as const)('a stream that cannot be read is left: %s', async (transport) => {
  ends.push(withGlobals(ALL_TRANSPORTS));
  for (const text of ['not json', 'null', '{"event":"$synced","data":null}']) {
    const http = createServer((request, reply) => {
      if (!request.url!.startsWith('/sse?')) return void reply.end('{"ticket":"x"}');
      reply.writeHead(200, { 'content-type': 'text/event-stream' });
      reply.write(`${transport === 'eventsource' ? '' : 'event:x\n'}id:1\ndata:${text}\n\n`);
    });
    new WebSocketServer({ server: http, path: '/ws', handleProtocols: () => 'broker.v1' }).on('connection', (socket) => socket.send(text));
    await new Promise<void>((done) => http.listen(0, '127.0.0.1', done));
    const client = clientOf(`http://127.0.0.1:${(http.address() as AddressInfo).port}`, { transport });
    client.on('x', () => {});
    const { reason } = await reaches(client, 'waiting');
    expect(reason).toBe('stream_broken');
    client.close();
    http.closeAllConnections();
    http.close();
  }
});

test('a stream of nothing but heartbeats is left, as it is not one of Broker', async () => {
  const { url, beats } = await quiet(false);
  const client = clientOf(url);
  fakeClock();
  client.on('x', () => {});
  await advancedTo(client, 'syncing', 5);
  await beats(2);
  expect(client.connection.get().state).toBe('syncing');
  const reasons: unknown[] = [];
  client.connection.subscribe(() => reasons.push(client.connection.get().reason));
  await beats(2);
  expect(reasons).toContain('silent');
});

test('a leader whose timers stand still, because it is hidden, does what is due when another tab asks', async () => {
  fakeClock();
  const begun = performance.now();
  let passed = 0;
  // The clocks go on, and no timer runs.
  vi.spyOn(performance, 'now').mockImplementation(() => begun + passed);
  const wall = Date.now();
  vi.spyOn(Date, 'now').mockImplementation(() => wall + passed);
  const opened: StreamEvents[] = [];
  const open: OpenStream = (_, on) => {
    opened.push(on);
    return () => {};
  };
  const session = { token: async () => 'token', jwt: () => 'token', due: () => Infinity, onToken: () => () => {} };
  const states: string[] = [];
  const connect = createConnection({ url: '', session: session as never, transports: [async () => ({ default: open })], request: async () => ({}) });
  const source = connect((message) => message.kind === 'state' && states.push(message.connection.state));
  source.want({ events: ['x'], presence: false });
  await moment();
  opened[0]!.open('stream');
  opened[0]!.frame({ event: '$synced', data: {}, id: '1' });
  const asked = async (seconds: number) => {
    for (let at = 0; at < seconds; at += 2) {
      passed += 2000;
      source.tick();
      await moment();
    }
  };
  await asked(28);
  expect(states.at(-1)).toBe('live');
  await asked(6);
  expect(opened).toHaveLength(2);
  source.close();
});

test('two silences an hour apart are no reason for another transport', async () => {
  ends.push(withGlobals(ALL_TRANSPORTS));
  // Each wait is longer than a step of this test.
  vi.spyOn(Math, 'random').mockReturnValue(1);
  const made = NodeXhr.made;
  const { url, beats } = await quiet();
  const client = clientOf(url);
  fakeClock();
  client.on('x', () => {});
  for (let silence = 0; silence < 2; silence++) {
    await advancedTo(client, 'live', 5);
    await beats(300);
    await advancedTo(client, 'waiting', 40);
  }
  await advancedTo(client, 'live', 5);
  expect(NodeXhr.made).toBe(made);
});

test.each([
  ['soon after it is in sync', 'live'],
  ['before it is in sync', 'syncing'],
] as const)('a stream that is cut off %s comes back later and later', async (_, state) => {
  vi.spyOn(Math, 'random').mockReturnValue(1);
  const { url, streams } = await quiet(state === 'live');
  const client = clientOf(url);
  fakeClock();
  const waits: number[] = [];
  client.connection.subscribe(() => {
    const { state, retryAt } = client.connection.get();
    if (state === 'waiting') waits.push(retryAt! - Date.now());
  });
  client.on('x', () => {});
  for (let at = 0; at < 5; at++) {
    await advancedTo(client, state, 40);
    streams.at(-1)!.destroy();
    await reaches(client, 'waiting');
  }
  expect(waits).toEqual([1200, 2200, 4200, 8200, 16200]);
});

test('tries that fail come back later and later, at random times', async () => {
  const random = vi.spyOn(Math, 'random').mockReturnValue(1);
  const client = clientOf('http://127.0.0.1:9');
  fakeClock();
  const waits: number[] = [];
  client.connection.subscribe(() => {
    const { state, retryAt } = client.connection.get();
    if (state === 'waiting') waits.push(retryAt! - Date.now());
  });
  client.on('x', () => {});
  while (waits.length < 7) {
    await reaches(client, 'waiting');
    await vi.advanceTimersByTimeAsync(1000);
  }
  expect(waits).toEqual([1200, 2200, 4200, 8200, 16200, 30200, 30200]);
  expect(random).toHaveBeenCalled();
});
