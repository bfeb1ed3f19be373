// However the stream is cut, and whatever changes meanwhile, what a client shows is what the server has.

import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { createClient, type Client, type TransportName } from '../src/index.js';
import { PATIENCE } from './patience.js';
import { startProxy } from './proxy.js';
import { requests } from './requests.js';
import { eventsOf, same } from './same.js';
import { startServer, until, type Server } from './server.js';
import { ALL_TRANSPORTS, withGlobals } from './transports.js';

let server: Server;
let undo: () => void;
const ends: (() => unknown)[] = [];

beforeAll(async () => {
  undo = withGlobals(ALL_TRANSPORTS);
  server = await startServer(['--authorize=scopes']);
  await writer('writer', 'acme');
  // Who was cut off comes back soon.
  vi.spyOn(Math, 'random').mockReturnValue(0.01);
});
afterEach(async () => {
  vi.unstubAllGlobals();
  for (const end of ends.splice(0)) await end();
});
afterAll(async () => {
  vi.restoreAllMocks();
  undo();
  await server.stop();
});

/** A user that may do everything in a tenant, and a token of theirs. */
async function writer(name: string, tenant_name: string): Promise<string> {
  await server.user(name, { tenant_name, scopes: ['*:get', '*:post'] });
  return server.token(name);
}

function clientOf(url: string, token: string, transport?: TransportName): Client {
  const made = createClient({ url, auth: { token }, transport });
  ends.unshift(() => made.close());
  return made;
}

/** A generator of numbers that can be repeated: xorshift. */
function random(seed: number) {
  let state = seed * 2654435761 || 1;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  return { below: (n: number) => Math.floor(next() * n), of: <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)]! };
}

const NAMES = ['a/1', 'a/2', 'a/3', 'b/1', 'b/2', 'doc', 'doc,2', 'c/x/1', 'c/x/2', 'c/y'];
const FILTERS = ['*', 'a/*', 'b/*', 'a/1', 'doc', 'doc,2', 'c/*', 'c/x/*', 'none/*'];
const SCOPES = [['*:get'], ['a/*:get', 'doc:get'], ['c/*:get', 'b/1:get'], ['a/1:get'], ['nothing:get']];

async function model(transport: TransportName, seed: number) {
  const pick = random(seed);
  const name = `reader-${transport}-${seed}`;
  const tenants = { home: `home of ${name}`, away: `away of ${name}` };
  await server.user(name, { scopes: ['*:get'], tenant_name: tenants.home });
  const token = await server.token(name);
  const writers = { home: await writer(`${name}-home`, tenants.home), away: await writer(`${name}-away`, tenants.away) };
  const through = await startProxy(server.port);
  const reader = clientOf(through.url, token, transport);
  const listening = new Map<string, () => void>();
  const log: string[] = [];
  // What listeners are told adds up to the same, transient events aside.
  const told = new Map<string, unknown>();
  reader.on('*', ({ event, data, removed, transient }) => {
    if (removed) told.delete(event);
    else if (!transient) told.set(event, data);
  });

  for (let round = 0; round < 12; round++) {
    for (let step = 0; step < 8; step++) {
      const event = pick.of(NAMES);
      const tenant = pick.of(['home', 'home', 'away'] as const);
      const what = pick.below(12);
      log.push(`${what} ${event} ${tenant}`);
      if (what < 4) await server.as(writers[tenant], '/insert', { event, data: { round, step }, transient: pick.below(5) === 0 });
      else if (what < 6) await server.as(writers[tenant], '/remove', { event }).catch(() => {});
      else if (what === 6) await server.admin('/update_user', { username: name, scopes: pick.of(SCOPES) });
      else if (what === 7) await server.admin('/update_user', { username: name, tenant_name: tenants[pick.of(['home', 'away'] as const)] });
      else if (what === 8) through.cut();
      else if (what === 9) through.cutAfter = pick.below(3000);
      else {
        const filter = pick.of(FILTERS);
        log.push(filter);
        const stop = listening.get(filter);
        if (stop) listening.delete(filter);
        else listening.set(filter, reader.all(filter).subscribe(() => {}));
        stop?.();
      }
    }
    through.cutAfter = undefined;
    for (const filter of ['*', ...listening.keys()]) {
      await same(reader, server, token, filter).catch((error) => {
        throw new Error(`seed ${seed}, round ${round}: ${error.message}\n${log.join('\n')}`);
      });
    }
    const events = await eventsOf(server, token, '*');
    expect(Object.fromEntries(told), `seed ${seed}`).toEqual(Object.fromEntries(events.map(({ event, data }) => [event, data])));
  }
}

/** The same without a listener of everything, so that the filter changes: widened and narrowed, and cut off between. */
async function filters(transport: TransportName, seed: number) {
  const pick = random(seed);
  const token = await writer(`writer-${transport}-${seed}`, `filters of ${transport} ${seed}`);
  const through = await startProxy(server.port);
  const reader = clientOf(through.url, token, transport);
  const listening = new Map<string, () => void>();
  for (let round = 0; round < 10; round++) {
    for (let step = 0; step < 6; step++) {
      const what = pick.below(8);
      const event = pick.of(NAMES);
      if (what < 2) await server.as(token, '/insert', { event, data: { round, step } });
      else if (what < 3) await server.as(token, '/remove', { event }).catch(() => {});
      else if (what < 4) through.cut();
      else if (what < 5) through.cutAfter = pick.below(2000);
      else {
        const filter = pick.of(FILTERS.slice(1));
        const stop = listening.get(filter);
        if (stop) listening.delete(filter);
        else listening.set(filter, reader.all(filter).subscribe(() => {}));
        stop?.();
      }
    }
    through.cutAfter = undefined;
    for (const filter of listening.keys()) {
      await same(reader, server, token, filter).catch((error) => {
        throw new Error(`seed ${seed}, round ${round}: ${error.message}`);
      });
    }
  }
}

for (const transport of ['fetch', 'xhr', 'websocket', 'eventsource'] as const) {
  test(`inserts, removals, scopes, tenants and cuts in any order leave what the server has: ${transport}`, async () => {
    await Promise.all([1, 2, 3].map((seed) => model(transport, seed)));
  });

  test(`filters that change and cuts in any order leave what the server has: ${transport}`, async () => {
    await Promise.all([1, 2, 3].map((seed) => filters(transport, seed)));
  });
}

test('a stream that is cut off at any byte, then changes, comes to what the server has', async () => {
  const token = await server.token('writer');
  for (const event of ['cut/1', 'cut/2', 'cut/3', 'cut/new']) await server.as(token, '/insert', { event, data: 'before' });
  const through = await startProxy(server.port);
  const first = clientOf(through.url, token);
  await first.ready('cut/*');
  // Everything up to `$synced`, and one more event.
  const whole = through.received;
  const { id } = await first.insert('cut/1', 'before');
  await until(first.latest('cut/1'), (item) => item?.id === id && !item.pending);
  expect(through.received).toBeGreaterThan(whole);
  const cuts = Array.from({ length: through.received }, (_, at) => at);
  let round = 0;
  while (cuts.length) {
    const batch = cuts.splice(0, 130);
    const readers = await Promise.all(
      batch.map(async (at) => {
        const own = await startProxy(server.port);
        own.cutAfter = at;
        const reader = createClient({ url: own.url, auth: { token } });
        const told = new Map<string, unknown>();
        reader.on('cut/*', ({ event, data, removed }) => (removed ? told.delete(event) : told.set(event, data)));
        // Until it was cut off, which only a stream does that is long enough.
        await new Promise<void>((resolve) => {
          const stop = reader.connection.subscribe(() => {
            const { state } = reader.connection.get();
            if (state === 'connecting' || (state === 'syncing' && at < 600)) return;
            stop();
            resolve();
          });
        });
        own.cutAfter = undefined;
        return { own, reader, at, told };
      }),
    );
    round++;
    await server.as(token, '/remove', { event: `cut/${1 + (round % 3)}` }).catch(() => {});
    await server.as(token, '/insert', { event: `cut/${1 + ((round + 1) % 3)}`, data: round });
    await server.as(token, '/insert', { event: `cut/new`, data: round });
    await Promise.all(
      readers.map(async ({ own, reader, at, told }) => {
        await same(reader, server, token, 'cut/*').catch((error) => {
          throw new Error(`cut at ${at}: ${error.message}`);
        });
        expect(Object.fromEntries(told)).toEqual(Object.fromEntries(reader.all('cut/*').get().map(({ event, data }) => [event, data])));
        reader.close();
        await own.close();
      }),
    );
  }
}, 5 * PATIENCE);

test('a filter that is widened and cut off before it is in sync is opened anew, and what has gone meanwhile is gone', async () => {
  const token = await server.token('writer');
  for (const event of ['w/1', 'w/2', 'v/1', 'v/2']) await server.as(token, '/insert', { event, data: 1 });
  const through = await startProxy(server.port);
  const reader = clientOf(through.url, token);
  const v = reader.all('v/*');
  v.subscribe(() => {});
  await same(reader, server, token, 'v/*');
  expect(through.streams).toBe(1);
  // The server has taken the change, and nothing of it comes.
  through.areStreamsHeld = true;
  const changes = requests('/subscription');
  const reached = reader.ready('w/*');
  await changes.reach(1);
  await server.as(token, '/remove', { event: 'v/1' });
  await server.as(token, '/insert', { event: 'w/3', data: 1 });
  through.areStreamsHeld = false;
  through.cut();
  await reached;
  expect(through.requests.at(-1)).not.toContain('lastEventId');
  await same(reader, server, token, 'w/*');
  await same(reader, server, token, 'v/*');
  expect(v.get().map(({ event }) => event)).toEqual(['v/2']);
});

test('a stream that was in sync resumes by its last id', async () => {
  const token = await server.token('writer');
  const through = await startProxy(server.port);
  const reader = clientOf(through.url, token);
  const seen: unknown[] = [];
  reader.on('r/*', ({ data }) => seen.push(data));
  await reader.ready('r/*');
  const { id } = await reader.insert('r/1', 'one');
  await same(reader, server, token, 'r/*');
  through.cut();
  await server.as(token, '/insert', { event: 'r/1', data: 'missed', transient: true });
  await server.as(token, '/insert', { event: 'r/1', data: 'two' });
  await same(reader, server, token, 'r/*');
  expect(through.requests.at(-1)).toContain(`lastEventId=${id}`);
  expect(seen).toEqual(['one', 'missed', 'two']);
});

