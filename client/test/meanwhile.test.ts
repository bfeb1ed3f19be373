// Who signs in or out while something is under way: it is neither sent nor kept in the place of another.

import { afterEach, expect, test, vi } from 'vitest';
import { BrokerError, createClient, type ClientOptions, type OutboxPlugin } from '../src/index.js';
import { until } from './server.js';
import { createGate } from './gate.js';

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** Answers by path, with the name of who asks as the token. */
function serve(
  answer: (path: string, init: { body: string; headers: Record<string, string> }) => unknown,
  options: Partial<ClientOptions> = {},
) {
  vi.stubGlobal('fetch', async (url: string, init: any) => {
    const path = new URL(url).pathname;
    if (path === '/login') {
      const { username } = JSON.parse(init.body);
      return Response.json({ jwt: username, expires_in: 900, refresh_token: `of ${username}` });
    }
    return Response.json((await answer(path, init)) ?? {});
  });
  return createClient<any>({ url: 'http://server', auth: { storage: 'memory' }, share: false, transport: 'fetch', ...options });
}

test('who signs out while the password is changed stays signed out, and nothing is left open', async () => {
  const gate = createGate();
  const calls: string[] = [];
  const client = serve(async (path, { body }) => {
    calls.push(`${path} ${JSON.parse(body).refresh_token}`);
    if (path !== '/change_password') return;
    await gate.isOpen;
    return { jwt: 'new', expires_in: 900, refresh_token: 'new session' };
  });
  await client.signIn({ username: 'alice', password: 'x' });
  const change = client.changePassword({ password: 'x', newPassword: 'y' });
  await vi.waitFor(() => expect(calls.length).toBe(1));
  await client.signOut();
  gate.open();
  await change;
  expect(client.session.get().status).toBe('signed-out');
  expect(calls).toContain('/logout new session');
  client.close();
});

test('what waits for a stream is not sent as whoever signs in meanwhile', async () => {
  const gate = createGate();
  const inserts: unknown[] = [];
  const client = serve(async (path, { headers }) => {
    if (path === '/insert') inserts.push(headers.authorization);
    if (path !== '/sse') return;
    await gate.isOpen;
    throw new TypeError('no network');
  });
  await client.signIn({ username: 'alice', password: 'x' });
  client.on('x', () => {});
  await vi.waitFor(() => expect(client.connection.get().state).toBe('connecting'));
  const insert = client.insert('typing', 'alice', { whileConnected: true }).catch((error) => error.code);
  await client.signIn({ username: 'bob', password: 'x' });
  gate.open();
  expect(await insert).toBe('unauthorized');
  expect(inserts).toEqual([]);
  client.close();
});

test('an empty code is refused once, and is no refused token', async () => {
  const calls: string[] = [];
  const client = serve((path) => void calls.push(path));
  await client.signIn({ username: 'alice', password: 'x' });
  const { fetch } = globalThis;
  vi.stubGlobal('fetch', async (url: string, init: any) => {
    await fetch(url, init);
    return Response.json({ code: 'unauthorized', error: 'wrong' }, { status: 401 });
  });
  await expect(client.twoFactorConfirm({ totp: '' })).rejects.toMatchObject({ status: 401 });
  expect(calls).toEqual(['/two_factor_confirm']);
  client.close();
});

test('nobody waits for what will never come: the reason is said, unless somebody is signing in', async () => {
  const streams: string[] = [];
  const client = serve((path, { headers }) => {
    if (path !== '/sse') return;
    streams.push(`${path} ${headers.authorization}`);
    return new Promise(() => {});
  });
  await expect(client.ready('x')).rejects.toMatchObject({ name: 'AuthError', code: 'signed-out', status: 401 });
  // Whoever is signing in is waited for.
  const signIn = client.signIn({ username: 'alice', password: 'x' });
  const ready = client.ready('x').catch((error) => error.code);
  await signIn;
  await vi.waitFor(() => expect(streams).toEqual(['/sse Bearer alice']));
  await client.signOut();
  expect(await ready).toBe('signed-out');
  const closed = client.ready('x');
  client.close();
  await expect(closed).rejects.toMatchObject({ code: 'closed' });
});

test('a sign-in that fails is waited for no longer', async () => {
  const client = serve(() => {});
  vi.stubGlobal('fetch', async () => Response.json({ code: 'unauthorized', error: 'wrong' }, { status: 401 }));
  const signIn = client.signIn({ username: 'alice', password: 'x' }).catch((error) => error.code);
  const ready = client.ready('x').catch((error) => error.code);
  expect(await Promise.all([signIn, ready])).toEqual(['unauthorized', 'signed-out']);
  client.close();
});

test('a service that fails to supply a token is asked again while something is wanted, and says when', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  let isDown = true;
  let asked = 0;
  let opened!: (token: unknown) => void;
  const stream = new Promise((resolve) => (opened = resolve));
  const jwt = `x.${btoa(JSON.stringify({ sub: 'alice' }))}.x`;
  vi.stubGlobal('fetch', (_url: string, { headers }: any) => (opened(headers.authorization), new Promise(() => {})));
  const client = createClient<any>({
    url: 'http://server',
    transport: 'fetch',
    auth: {
      async token() {
        asked++;
        if (isDown) throw new TypeError('the service is down');
        return jwt;
      },
    },
  });
  const stop = client.on('x', () => {});
  for (let round = 1; round < 4; round++) {
    await until(client.connection, ({ state }) => state === 'waiting');
    expect(client.connection.get()).toMatchObject({ reason: 'no_token', retryAt: expect.any(Number), stale: true });
    expect(asked).toBe(round);
    isDown = round < 3;
    vi.advanceTimersByTime(30_000);
  }
  expect(await stream).toBe(`Bearer ${jwt}`);
  expect(client.session.get()).toEqual({ status: 'signed-in', user: 'alice' });
  stop();
  client.close();
});

test('who signs out while a sign-in is being answered stays signed out', async () => {
  const gate = createGate();
  const logouts: string[] = [];
  const client = serve((path, { body }) => void (path === '/logout' && logouts.push(body)));
  const { fetch } = globalThis;
  vi.stubGlobal('fetch', async (url: string, init: any) => {
    const reply = await fetch(url, init);
    if (url.endsWith('/login')) await gate.isOpen;
    return reply;
  });
  const signIn = client.signIn({ username: 'alice', password: 'x' }).catch((error) => error.code);
  await client.signOut();
  gate.open();
  expect(await signIn).toBe('signed-out');
  expect(client.session.get().status).toBe('signed-out');
  await vi.waitFor(() => expect(logouts).toEqual(['{"refresh_token":"of alice"}']));
  client.close();
});

test('who signs out while a sign-in looks for changes of others stays signed out, and an answer that is none throws nothing away', async () => {
  const admitted: boolean[] = [];
  let go!: () => void;
  const gate = new Promise<void>((resolve) => (go = resolve));
  const plugin = { beforeSignIn: async (_user: string, discard: boolean) => (admitted.push(discard), gate), close() {} };
  const outbox = { attach: () => plugin } as unknown as OutboxPlugin;
  const client = serve(() => {}, { outbox });
  const signIn = client.signIn({ username: 'alice', password: 'x' }).catch((error) => error.code);
  await vi.waitFor(() => expect(admitted).toEqual([false]));
  await client.signOut();
  go();
  expect(await signIn).toBe('signed-out');
  expect(client.session.get().status).toBe('signed-out');
  // As of a captive portal.
  vi.stubGlobal('fetch', async () => new Response(''));
  await expect(client.signIn({ username: 'alice', password: 'x', discard: true })).rejects.toMatchObject({ retryable: true });
  expect(admitted).toEqual([false]);
  client.close();
});

test('who ends all sign-ins, or this one, is signed out, also if nothing is listened to', async () => {
  const jwt = `x.${btoa(JSON.stringify({ sub: 'alice', sid: 'this' }))}.x`;
  const client = serve(() => '');
  const { fetch } = globalThis;
  vi.stubGlobal('fetch', (url: string, init: any) =>
    url.endsWith('/login') ? Response.json({ jwt, expires_in: 900, refresh_token: 'of alice' }) : fetch(url, init),
  );
  const signIn = () => client.signIn({ username: 'alice', password: 'x' });
  await signIn();
  await client.endSession({ session: 'another' });
  expect(client.session.get().status).toBe('signed-in');
  await client.endSession({ session: 'this' });
  expect(client.session.get()).toMatchObject({ status: 'signed-out', reason: 'session_ended' });
  await signIn();
  await client.endSession({ all: true });
  expect(client.session.get()).toMatchObject({ status: 'signed-out', reason: 'session_ended' });
  client.close();
});

test('a service that never answers is asked again', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  let asked = 0;
  const client = createClient<any>({ url: 'http://server', auth: { token: () => (asked++, new Promise(() => {})) } });
  const me = client.me().catch((error) => error);
  client.on('x', () => {});
  await vi.waitFor(() => expect(asked).toBe(1));
  await vi.advanceTimersByTimeAsync(30_000);
  expect(await me).toMatchObject({ name: 'NetworkError', code: 'timeout' });
  await until(client.connection, ({ state }) => state === 'waiting');
  await vi.advanceTimersByTimeAsync(2_000);
  await vi.waitFor(() => expect(asked).toBe(2));
  client.close();
});

test('no account is made that cannot be signed in, because changes of another user wait', async () => {
  const paths: string[] = [];
  const admitted: [user: string, discard: boolean][] = [];
  const outbox = {
    attach: () => ({
      async beforeSignIn(user: string, discard: boolean) {
        admitted.push([user, discard]);
        if (!discard) throw new BrokerError('outbox_pending', 'changes of another user have not been sent');
      },
      close() {},
    }),
  } as unknown as OutboxPlugin;
  const client = serve((path) => void paths.push(path), { outbox });
  await expect(client.signUp({ username: 'bob', password: 'x' })).rejects.toMatchObject({ code: 'outbox_pending' });
  expect(paths).toEqual([]);
  await client.signUp({ username: 'bob', password: 'x', discard: true });
  expect(paths).toEqual(['/sign_up']);
  // Nothing was thrown away before there was an account.
  expect(admitted).toEqual([['bob', false], ['bob', true]]);
  expect(client.session.get()).toMatchObject({ user: 'bob' });
  client.close();
});

test('what stands beside the core is loaded as soon as there is a client: Firefox would never ask again for what failed later', async () => {
  vi.resetModules();
  const loaded = vi.fn(() => ({}));
  vi.doMock('../src/more.js', loaded);
  const { createClient } = await import('../src/client.js');
  expect(loaded).not.toHaveBeenCalled();
  createClient({ url: 'http://server', auth: { storage: 'memory' } }).close();
  await vi.waitFor(() => expect(loaded).toHaveBeenCalled());
  vi.doUnmock('../src/more.js');
});
