// A stream and the token that it was opened with: who renews it, how often, and what is left of that when it is closed.

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createConnection } from '../src/connection.js';
import { AuthError } from '../src/errors.js';
import type { SessionKeeper } from '../src/session.js';
import { createEmitter, createStore } from '../src/store.js';
import type { StreamEvents } from '../src/transports/transport.js';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A connection whose token lasts ten seconds, with a stream that is open. */
async function opened(request: (path: string, options: any) => Promise<any>) {
  const tokens = createEmitter();
  let count = 0;
  let at = 0;
  const session = {
    asked: 0,
    store: createStore({ status: 'signed-in' as const, user: 'alice' }),
    async token() {
      session.asked++;
      if (performance.now() - at >= 10_000) session.renew();
      return `token-${count}`;
    },
    renew() {
      count++;
      at = performance.now();
      tokens.emit();
    },
    due: () => Math.max(0, at + 10_000 - performance.now()),
    jwt: () => `token-${count}`,
    onToken: tokens.on,
  };
  at = performance.now();
  let on!: StreamEvents;
  const transport = async () => ({ default: (_request: unknown, events: StreamEvents) => ((on = events), () => {}) });
  const open = createConnection({ url: 'http://server', session: session as unknown as SessionKeeper, transports: [transport], request });
  const source = open(() => {});
  source.want({ events: ['x'], presence: false });
  await vi.waitFor(() => expect(on).toBeDefined());
  on.open('stream');
  on.frame({ event: '$synced', data: {}, id: '1' });
  /** Time passes, with heartbeats. */
  const pass = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 1000) {
      await vi.advanceTimersByTimeAsync(1000);
      on.life();
    }
  };
  return { source, session, pass };
}

test('each renewal takes the place of the one before, and none goes on after the end', async () => {
  const request = vi.fn(async () => ({}));
  const { source, session, pass } = await opened(request);
  // The watchdog, and the next renewal.
  expect(vi.getTimerCount()).toBe(2);
  await pass(45_000);
  expect(request).toHaveBeenCalledTimes(4);
  expect(vi.getTimerCount()).toBe(2);
  // One that another tab has made.
  session.renew();
  await pass(1000);
  expect(request).toHaveBeenCalledTimes(5);
  expect(vi.getTimerCount()).toBe(2);
  const { asked } = session;
  source.close();
  expect(vi.getTimerCount()).toBe(0);
  await pass(30_000);
  expect(session.asked).toBe(asked);
});

test('a stream whose newer token is refused ends with its token: no token is renewed for it', async () => {
  const request = vi.fn(async (_path: string, _options: any) => {
    throw new AuthError('unauthorized', 'not this one', 401);
  });
  const { source, session, pass } = await opened(request);
  session.renew();
  await pass(1000);
  expect(request.mock.calls).toEqual([
    ['/subscription', { open: true, headers: { authorization: 'Bearer token-1' }, body: { stream: 'stream', renew: true } }],
  ]);
  await pass(9_000);
  // The next is due in its turn.
  expect(request).toHaveBeenCalledTimes(2);
  source.close();
});
