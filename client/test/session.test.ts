// The sign-in: one renewal at a time, what is kept and when it is forgotten, whatever the order of things.

import { afterEach, describe, expect, test, vi } from 'vitest';
import { AuthError, NetworkError } from '../src/errors.js';
import { createClient } from '../src/client.js';
import type { Tokens } from '../src/kept.js';
import { keptOf } from '../src/renewal.js';
import { createSession } from '../src/session.js';
import type { AuthOptions } from '../src/types.js';
import { createGate } from './gate.js';

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

/** A storage that several pages share. */
function storageOf(map = new Map<string, string>()) {
  return {
    map,
    getItem: (key: string) => map.get(key) ?? null,
    setItem: (key: string, value: string) => void map.set(key, value),
    removeItem: (key: string) => void map.delete(key),
  };
}

/** A server that renews: it rotates the refresh token, and takes the one before it for a token without a successor. */
function serverOf() {
  let count = 0;
  let isOver = false;
  const server = {
    calls: 0,
    /** What holds the next answer back. */
    gate: undefined as Promise<unknown> | undefined,
    tokens: (): Tokens => ({ jwt: `access-${count}`, expires_in: 900, refresh_token: `refresh-${count}` }),
    end: () => (isOver = true),
    async post(path: string, { body }: any): Promise<any> {
      expect(path).toBe('/refresh');
      server.calls++;
      const age = count - Number(body.refresh_token.slice('refresh-'.length));
      if (isOver || age > 1) throw new AuthError('session_ended', 'it has ended', 401);
      if (age === 0) count++;
      const answer = { ...server.tokens(), ...(age && { refresh_token: undefined }) };
      await server.gate;
      return answer;
    },
  };
  return server;
}

/** A token that a service of the application has made. */
const claims = (sub: unknown) => `x.${Buffer.from(JSON.stringify({ sub })).toString('base64url')}.x`;

const sessionOf = (post: (path: string, options: any) => Promise<any>, auth: AuthOptions = { storage: storageOf() }, url = 'http://server') => {
  const session = createSession(url, auth, post);
  return { ...session, start: async (user: string, tokens: Tokens) => session.start(keptOf(user, tokens)) };
};

test('a token that is refused is renewed, once for all who ask', async () => {
  const server = serverOf();
  const session = sessionOf(server.post);
  await session.start('alice', server.tokens());
  const tokens = await Promise.all(Array.from({ length: 20 }, () => session.token('access-0')));
  expect(new Set(tokens)).toEqual(new Set(['access-1']));
  expect(server.calls).toBe(1);
  expect(session.store.get()).toEqual({ status: 'signed-in', user: 'alice' });
});

test('a token is renewed before it ends, by the time that passes, and not by the clock', async () => {
  vi.useFakeTimers({ toFake: ['performance', 'Date'] });
  const server = serverOf();
  const session = sessionOf(server.post);
  await session.start('alice', server.tokens());
  vi.setSystemTime(Date.now() + 86_400_000);
  expect(await session.token()).toBe('access-0');
  vi.advanceTimersByTime(869_000);
  expect(await session.token()).toBe('access-0');
  vi.advanceTimersByTime(2_000);
  expect(await session.token()).toBe('access-1');
  vi.setSystemTime(Date.now() - 2 * 86_400_000);
  expect(await session.token()).toBe('access-1');
});

test('a page that finds a sign-in goes on with it, also if the clock was set back meanwhile', async () => {
  const server = serverOf();
  const storage = storageOf();
  await sessionOf(server.post, { storage }).start('alice', server.tokens());
  const found = sessionOf(server.post, { storage });
  expect(found.store.get()).toEqual({ status: 'signed-in', user: 'alice' });
  vi.useFakeTimers({ toFake: ['Date'] });
  vi.setSystemTime(Date.now() - 86_400_000);
  expect(await sessionOf(server.post, { storage }).token()).toBe('access-0');
  // With a clock that is ahead the token looks old, and is renewed.
  vi.setSystemTime(Date.now() + 3 * 86_400_000);
  expect(await sessionOf(server.post, { storage }).token()).toBe('access-1');
  expect(server.calls).toBe(1);
});

test('another page has renewed: what it got is taken from the storage', async () => {
  const server = serverOf();
  const storage = storageOf();
  const [one, other] = [sessionOf(server.post, { storage }), sessionOf(server.post, { storage })];
  await one.start('alice', server.tokens());
  expect(await other.token()).toBeUndefined();
  const later = sessionOf(server.post, { storage });
  await one.token('access-0');
  expect(await later.token('access-0')).toBe('access-1');
  expect(server.calls).toBe(1);
});

test('without locks a page that was slower takes what the faster one got', async () => {
  const server = serverOf();
  const storage = storageOf();
  await sessionOf(server.post, { storage }).start('alice', server.tokens());
  const [one, other] = [sessionOf(server.post, { storage }), sessionOf(server.post, { storage })];
  const tokens = await Promise.all([one.token('access-0'), other.token('access-0')]);
  expect(tokens).toEqual(['access-1', 'access-1']);
  // Neither has lost the successor.
  for (const session of [one, other, sessionOf(server.post, { storage })]) {
    expect(await session.token('access-1')).toBe('access-2');
    expect(await session.refreshToken()).toBe('refresh-2');
  }
  expect(server.calls).toBe(3);
});

test.each([true, false])('an answer that is slow and not lost still gives the successor, if the next try has an answer: %s', async (isAnswered) => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const server = serverOf();
  const storage = storageOf();
  let tries = 0;
  const session = sessionOf(
    async (path, options) => {
      const answer = server.post(path, options);
      if (++tries === 2 && !isAnswered) throw new NetworkError('timeout');
      return answer;
    },
    { storage },
  );
  await session.start('alice', server.tokens());
  let open!: () => void;
  server.gate = new Promise<void>((resolve) => (open = resolve));
  const renewed = session.token('access-0').catch((error) => error.code);
  await vi.waitFor(() => expect(tries).toBe(1));
  server.gate = undefined;
  await vi.advanceTimersByTimeAsync(5_000);
  expect(await renewed).toBe(isAnswered ? 'access-1' : 'timeout');
  expect(await session.refreshToken()).toBe('refresh-0');
  open();
  await vi.waitFor(async () => expect(await session.refreshToken()).toBe('refresh-1'));
  expect([...storage.map.values()].join()).toContain('refresh-1');
  expect(await session.token('access-1')).toBe('access-2');
});

test('a slow answer does not sign in whoever has signed out meanwhile', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const server = serverOf();
  const session = sessionOf(server.post);
  await session.start('alice', server.tokens());
  let open!: () => void;
  server.gate = new Promise<void>((resolve) => (open = resolve));
  const renewed = session.token('access-0');
  await vi.waitFor(() => expect(server.calls).toBe(1));
  const gone = server.gate;
  server.gate = undefined;
  await vi.advanceTimersByTimeAsync(5_000);
  await renewed;
  await session.end('signed-out');
  open();
  await gone;
  await vi.advanceTimersByTimeAsync(10);
  expect(session.store.get()).toEqual({ status: 'signed-out', reason: 'signed-out' });
  expect(await session.refreshToken()).toBeUndefined();
});

test('an answer without a successor lasts as long as its token', async () => {
  const session = sessionOf(async () => ({ jwt: 'access-1', expires_in: 900 }));
  await session.start('alice', { jwt: 'access-0', expires_in: 900, refresh_token: 'former' });
  expect(await session.token('access-0')).toBe('access-1');
  // To end the session it is still good.
  expect(await session.refreshToken()).toBe('former');
  // The former refresh token must not be used again: that would end the session of who has its successor.
  expect(await session.token('access-1')).toBeUndefined();
  expect(session.store.get()).toEqual({ status: 'signed-out', reason: 'expired' });
});

test('a session that has ended is signed out, with the reason', async () => {
  const server = serverOf();
  const storage = storageOf();
  const session = sessionOf(server.post, { storage });
  await session.start('alice', server.tokens());
  server.end();
  expect(await session.token('access-0')).toBeUndefined();
  expect(session.store.get()).toEqual({ status: 'signed-out', reason: 'session_ended' });
  expect(storage.map.size).toBe(0);
});

test('without a network nobody is signed out, and a token that still lasts is used', async () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  let isDown = true;
  const server = serverOf();
  const session = sessionOf(async (path, options) => {
    if (isDown) throw new NetworkError();
    return server.post(path, options);
  });
  await session.start('alice', server.tokens());
  vi.advanceTimersByTime(880_000);
  expect(await session.token()).toBe('access-0');
  await expect(session.token('access-0')).rejects.toThrow('the server cannot be reached');
  expect(session.store.get().status).toBe('signed-in');
  isDown = false;
  expect(await session.token('access-0')).toBe('access-1');
});

test('who signs out while a renewal is under way is signed out', async () => {
  const server = serverOf();
  const session = sessionOf(server.post);
  await session.start('alice', server.tokens());
  const gate = createGate();
  server.gate = gate.isOpen;
  const renewed = session.token('access-0');
  await vi.waitFor(() => expect(server.calls).toBe(1));
  await session.end('signed-out');
  gate.open();
  expect(await renewed).toBeUndefined();
  expect(session.store.get()).toEqual({ status: 'signed-out', reason: 'signed-out' });
  expect(session.jwt()).toBeUndefined();
});

test('who signs in as another while a renewal is under way stays the other', async () => {
  const server = serverOf();
  const session = sessionOf(server.post);
  await session.start('alice', server.tokens());
  const gate = createGate();
  server.gate = gate.isOpen;
  const renewed = session.token('access-0');
  await vi.waitFor(() => expect(server.calls).toBe(1));
  await session.start('bob', { jwt: 'of-bob', expires_in: 900, refresh_token: 'bobs' });
  gate.open();
  expect(await renewed).toBe('of-bob');
  expect(session.store.get().user).toBe('bob');
});

test('a service that supplies tokens is asked again when one is refused, and its user is known', async () => {
  const supplied = [claims('zoë'), claims('zoë') + '2', claims('zoë') + '2'];
  let asked = 0;
  const session = sessionOf(() => Promise.reject(new Error('not asked')), { token: async () => supplied[asked++] });
  expect(await session.token()).toBe(supplied[0]);
  expect(session.store.get()).toEqual({ status: 'signed-in', user: 'zoë' });
  expect(await session.token()).toBe(supplied[0]);
  expect(await session.token(supplied[0])).toBe(supplied[1]);
  // The same again is of no use.
  expect(await session.token(supplied[1])).toBeUndefined();
  expect(session.store.get()).toMatchObject({ status: 'signed-out' });
});

test('a service that fails to supply a token is asked again', async () => {
  let isDown = true;
  const session = sessionOf(() => Promise.reject(new Error('not asked')), {
    async token() {
      if (isDown) throw new TypeError('the service is down');
      return claims('alice');
    },
  });
  await expect(session.token()).rejects.toMatchObject({ code: 'no_token', retryable: true, message: expect.stringContaining('the service is down') });
  isDown = false;
  expect(await session.token()).toBe(claims('alice'));
});

test.each(['x.x.x', 'no token', claims(7), claims('')])('a token that does not say whose it is signs nobody in: %s', async (token) => {
  const session = sessionOf(() => Promise.reject(new Error('not asked')), { token: () => token });
  expect(await session.token()).toBeUndefined();
  expect(session.store.get()).toEqual({ status: 'signed-out', reason: 'token_unreadable' });
});

test.each([undefined, '', {}, { jwt: '' }, { jwt: 7 }])('an answer without a token is none, and nothing is lost: %o', async (answer) => {
  const storage = storageOf();
  const session = sessionOf(async () => answer ?? '', { storage });
  await session.start('alice', serverOf().tokens());
  const before = [...storage.map];
  await expect(session.token('access-0')).rejects.toMatchObject({ code: 'cut_off', retryable: true });
  expect([...storage.map]).toEqual(before);
  expect(await session.token()).toBe('access-0');
  await expect(session.start('bob', { ...(answer as Tokens) })).rejects.toMatchObject({ code: 'cut_off' });
  expect(session.store.get().user).toBe('alice');
});

test.each(['{}', '5', '"x"', '[]', 'true', '{"user":{},"jwt":"x"}', '{"user":"alice","jwt":5}', 'x'])(
  'what others have left in the storage signs nobody in: %s',
  async (text) => {
    const session = sessionOf(serverOf().post, { storage: { ...storageOf(), getItem: () => text } });
    expect(await session.token()).toBeUndefined();
    expect(session.store.get()).toMatchObject({ status: 'signed-out' });
  },
);

test.each([0, -5, NaN, 'soon' as never])('a life of %s is none: it is not renewed before it is refused', async (life) => {
  const session = sessionOf(serverOf().post);
  await session.start('alice', { jwt: 'access-0', expires_in: life, refresh_token: 'refresh-0' });
  expect(session.due()).toBe(Infinity);
  expect(await session.token()).toBe('access-0');
});

test('the name in the storage is one that every storage takes, and each server has its own', async () => {
  const storage = storageOf();
  const urls = ['https://broker.example.com/a', 'https://broker.example.com_2fa', 'http://192.168.1.2:8080', 'http://192.168.1.2/8080'];
  for (const url of urls) await sessionOf(serverOf().post, { storage }, url).start('alice', serverOf().tokens());
  expect(storage.map.size).toBe(urls.length);
  for (const key of storage.map.keys()) expect(key).toMatch(/^[\w.-]+$/);
});

describe('a storage that cannot be written', () => {
  const full = (map?: Map<string, string>) => ({
    ...storageOf(map),
    setItem() {
      throw new Error('the storage is full');
    },
  });

  test('signs nobody in as the user before', async () => {
    const { map, ...storage } = storageOf();
    await sessionOf(serverOf().post, { storage }).start('alice', { jwt: 'of alice', expires_in: 900, refresh_token: 'of alice' });
    const server = serverOf();
    const session = sessionOf(server.post, { storage: full(map) });
    await session.start('bob', server.tokens());
    expect(await session.token('access-0')).toBe('access-1');
    expect(session.store.get().user).toBe('bob');
    // A reload finds nobody, and not somebody else.
    expect(map.size).toBe(0);
  });

  test('signs nobody out, and uses no refresh token twice', async () => {
    const server = serverOf();
    const { map, ...storage } = storageOf();
    await sessionOf(server.post, { storage }).start('alice', server.tokens());
    const session = sessionOf(server.post, { storage: full(map) });
    for (const count of [0, 1, 2]) expect(await session.token(`access-${count}`)).toBe(`access-${count + 1}`);
    expect(session.store.get()).toEqual({ status: 'signed-in', user: 'alice' });
    expect(map.size).toBe(0);
  });

  test('makes room by what it has, so that other pages stay signed in', async () => {
    const server = serverOf();
    const { map, ...storage } = storageOf();
    await sessionOf(server.post, { storage }).start('alice', server.tokens());
    const setItem = (key: string, value: string) => {
      if (map.has(key)) throw new Error('the storage is full');
      map.set(key, value);
    };
    const session = sessionOf(server.post, { storage: { ...storage, setItem } });
    expect(await session.token('access-0')).toBe('access-1');
    expect([...map.values()].join()).toContain('refresh-1');
  });

  test('is not read again because somebody has signed out elsewhere', async () => {
    let onStorage!: (event: object) => void;
    vi.stubGlobal('addEventListener', (_type: string, listener: typeof onStorage) => (onStorage = listener));
    const { map, ...storage } = full();
    let key = '';
    const session = sessionOf(serverOf().post, { storage: { ...storage, removeItem: (name) => ((key = name), storage.removeItem(name)) } });
    await session.start('alice', serverOf().tokens());
    onStorage({ key, newValue: '{"reason":"signed-out"}' });
    onStorage({ key, newValue: null });
    expect(await session.token()).toBe('access-0');
    expect(session.store.get().user).toBe('alice');
  });

  test('is read again when another page has written it', async () => {
    let onStorage!: (event: object) => void;
    vi.stubGlobal('addEventListener', (_type: string, listener: typeof onStorage) => (onStorage = listener));
    const server = serverOf();
    const { map, ...storage } = storageOf();
    const session = sessionOf(server.post, { storage: full(map) });
    await session.start('alice', server.tokens());
    const [tellFirst] = [onStorage];
    await sessionOf(server.post, { storage }).start('bob', { jwt: 'of bob', refresh_token: 'of bob' });
    const [[key, newValue]] = [...map] as [[string, string]];
    tellFirst({ key, newValue });
    await vi.waitFor(() => expect(session.store.get().user).toBe('bob'));
  });
});

test('without locks a page that was slower does not overwrite the successor, also if it does not see it yet', async () => {
  const server = serverOf();
  const shared = storageOf();
  await sessionOf(server.post, { storage: shared }).start('alice', server.tokens());
  // The other process shows what was written some time later.
  const old = new Map(shared.map);
  let isLate = true;
  const late = { ...shared, getItem: (key: string) => (isLate ? old.get(key)! : shared.getItem(key)) };
  const [one, other] = [sessionOf(server.post, { storage: shared }), sessionOf(server.post, { storage: late })];
  expect(await one.token('access-0')).toBe('access-1');
  expect(await other.token('access-0')).toBe('access-1');
  expect([...shared.map.values()].join()).toContain('"refresh":"refresh-1"');
  isLate = false;
  for (const session of [one, other]) expect(await session.token('access-1')).toBe('access-2');
  expect(server.calls).toBe(3);
});

test('the refresh token that ends the session is there as soon as a slow storage has answered', async () => {
  const server = serverOf();
  const storage = storageOf();
  await sessionOf(server.post, { storage }).start('alice', server.tokens());
  const getItem = async (key: string) => storage.getItem(key);
  expect(await sessionOf(server.post, { storage: { ...storage, getItem } }).refreshToken()).toBe('refresh-0');
});

test('a storage that fails is done without', async () => {
  const fail = () => {
    throw new Error('the storage is full');
  };
  const server = serverOf();
  const session = sessionOf(server.post, { storage: { getItem: fail, setItem: fail, removeItem: fail } });
  await session.start('alice', server.tokens());
  expect(await session.token()).toBe('access-0');
  expect(await session.token('access-0')).toBe('access-1');
});

test('where events are dispatched and there are none of storages, as in workers, a sign-in is one', async () => {
  vi.stubGlobal('dispatchEvent', () => true);
  vi.stubGlobal('StorageEvent', undefined);
  const session = sessionOf(serverOf().post);
  await session.start('alice', serverOf().tokens());
  await session.end('signed-out');
  expect(session.store.get().status).toBe('signed-out');
});

test('another client of the same page is told, which the browser does not', async () => {
  const listeners = new Set<(event: object) => void>();
  vi.stubGlobal('addEventListener', (_type: string, listener: (event: object) => void) => listeners.add(listener));
  vi.stubGlobal('StorageEvent', function (this: object, _type: string, init: object) {
    Object.assign(this, init);
  });
  vi.stubGlobal('dispatchEvent', (event: object) => listeners.forEach((listener) => listener(event)));
  const server = serverOf();
  const storage = storageOf();
  const [one, other] = [sessionOf(server.post, { storage }), sessionOf(server.post, { storage })];
  await one.start('alice', server.tokens());
  await vi.waitFor(() => expect(other.store.get()).toEqual({ status: 'signed-in', user: 'alice' }));
  await one.end('signed-out');
  await vi.waitFor(() => expect(other.store.get()).toEqual({ status: 'signed-out', reason: 'signed-out' }));
  await one.start('bob', { jwt: 'of bob', refresh_token: 'of bob' });
  await vi.waitFor(() => expect(other.store.get().user).toBe('bob'));
});

test('a service that supplies tokens is not asked because of what is stored, and nothing is', async () => {
  let onStorage!: (event: object) => void;
  vi.stubGlobal('addEventListener', (_type: string, listener: typeof onStorage) => (onStorage = listener));
  const dispatched = vi.fn();
  vi.stubGlobal('dispatchEvent', dispatched);
  vi.stubGlobal('StorageEvent', function () {});
  const { map, ...storage } = storageOf();
  let asked = 0;
  const session = sessionOf(serverOf().post, { storage, token: () => (asked++, claims('alice')) });
  await session.token();
  // Another password has been set.
  await session.start('alice', { jwt: 'new', expires_in: 900, refresh_token: 'new' });
  onStorage({ key: session.key, newValue: '{"user":"bob","jwt":"of bob"}' });
  onStorage({ key: null, newValue: null });
  expect(await session.token()).toBe('new');
  expect([asked, map.size, dispatched.mock.calls.length]).toEqual([1, 0, 0]);
});

test('what is read from a slow storage does not undo what was signed in or out meanwhile', async () => {
  const map = new Map<string, string>();
  const slow = <T>(run: () => T) =>
    new Promise<T>((resolve) => {
      const value = run();
      setTimeout(() => resolve(value), 20);
    });
  const { getItem, setItem, removeItem } = storageOf(map);
  const storage = {
    getItem: (key: string) => slow(() => getItem(key)),
    setItem: (key: string, value: string) => slow(() => setItem(key, value)),
    removeItem: (key: string) => slow(() => removeItem(key)),
  };
  const server = serverOf();
  const session = sessionOf(server.post, { storage });
  // The first reading is under way.
  await session.start('alice', server.tokens());
  await session.token();
  expect(session.store.get()).toEqual({ status: 'signed-in', user: 'alice' });
  const renewal = session.token('access-0');
  await session.end('signed-out');
  expect(await renewal).toBeUndefined();
  expect(session.store.get().status).toBe('signed-out');
  expect(map.size).toBe(0);
});

test('a renewal does not overwrite the sign-in of another page that this one has not heard of', async () => {
  const server = serverOf();
  const storage = storageOf();
  const session = sessionOf(server.post, { storage });
  await session.start('alice', server.tokens());
  const gate = createGate();
  server.gate = gate.isOpen;
  const renewal = session.token('access-0');
  await vi.waitFor(() => expect(server.calls).toBe(1));
  await sessionOf(server.post, { storage }).start('bob', { jwt: 'of bob', refresh_token: 'refresh of bob' });
  gate.open();
  expect(await renewal).toBe('of bob');
  expect(session.store.get().user).toBe('bob');
  expect([...storage.map.values()].join()).toContain('refresh of bob');
});

test('a page learns from a service that supplies tokens who is signed in, also if nothing is listened to', async () => {
  vi.stubGlobal('document', {});
  const session = sessionOf(() => Promise.reject(new Error('not asked')), { token: () => claims('alice') });
  vi.unstubAllGlobals();
  await vi.waitFor(() => expect(session.store.get().status).toBe('signed-in'));
  session.close();
});

/** The locks of a browser, one at a time for a name. What they wait for is told by `isHeld`. */
function stubLocks() {
  let last: Promise<unknown> = Promise.resolve();
  const locks = {
    isHeld: false,
    /** How many have asked for it, and wait. */
    waits: 0,
    request: (_name: string, { signal, ifAvailable }: LockOptions, run: (lock: object | null) => Promise<unknown>) => {
      if (ifAvailable && locks.isHeld) return Promise.resolve(run(null));
      if (locks.isHeld) locks.waits++;
      const granted = last.then(async () => {
        signal?.throwIfAborted();
        locks.isHeld = true;
        await run({});
      });
      last = granted.catch(() => {}).then(() => (locks.isHeld = false));
      return last.then(() => granted);
    },
  };
  vi.stubGlobal('navigator', { locks });
  return locks;
}

test('no listener is called while the lock of the renewal is held', async () => {
  const locks = stubLocks();
  const server = serverOf();
  const calls: [what: string, isHeld: boolean][] = [];
  const session = sessionOf((path, options) => {
    calls.push([path, locks.isHeld]);
    return server.post(path, options);
  });
  await session.start('alice', server.tokens());
  session.onToken(() => calls.push(['token', locks.isHeld]));
  session.store.subscribe(() => calls.push([session.store.get().status, locks.isHeld]));
  expect(await session.token('access-0')).toBe('access-1');
  server.end();
  expect(await session.token('access-1')).toBeUndefined();
  expect(calls).toEqual([['/refresh', true], ['token', false], ['/refresh', true], ['signed-out', false], ['token', false]]);
});

test('a storage that never answers keeps no other page from renewing', async () => {
  stubLocks();
  // The time-out of the lock is one of the platform, which has no fake.
  const timeouts: AbortController[] = [];
  vi.spyOn(AbortSignal, 'timeout').mockImplementation(() => {
    timeouts.push(new AbortController());
    return timeouts.at(-1)!.signal;
  });
  const server = serverOf();
  const storage = storageOf();
  await sessionOf(server.post, { storage }).start('alice', server.tokens());
  let isStuck = false;
  const getItem = (key: string) => (isStuck ? new Promise<null>(() => {}) : storage.getItem(key));
  const stuck = sessionOf(server.post, { storage: { ...storage, getItem } });
  const other = sessionOf(server.post, { storage });
  isStuck = true;
  void stuck.token('access-0');
  await vi.waitFor(() => expect((navigator.locks as any).isHeld).toBe(true));
  const renewed = other.token('access-0');
  await vi.waitFor(() => expect(timeouts).toHaveLength(2));
  // The first page holds the lock, and the other one waits for it.
  timeouts[0]!.abort();
  expect(await renewed).toBe('access-1');
});

test('a page that waited for the lock waits for what was stored under it, which its browser may show later', async () => {
  const locks = stubLocks();
  const stores: ((event: { key: string | null; newValue: string | null }) => void)[] = [];
  vi.stubGlobal('addEventListener', (_type: string, listener: (typeof stores)[0]) => stores.push(listener));
  const server = serverOf();
  const shared = storageOf();
  await sessionOf(server.post, { storage: shared }).start('alice', server.tokens());
  const old = new Map(shared.map);
  let isLate = true;
  const one = sessionOf(server.post, { storage: shared });
  const other = sessionOf(server.post, { storage: { ...shared, getItem: (key) => (isLate ? old.get(key)! : shared.getItem(key)) } });
  const gate = createGate();
  server.gate = gate.isOpen;
  const renewed = one.token('access-0');
  await vi.waitFor(() => expect(server.calls).toBe(1));
  const waited = other.token('access-0');
  await vi.waitFor(() => expect(locks.waits).toBe(1));
  gate.open();
  expect(await renewed).toBe('access-1');
  isLate = false;
  const [key, newValue] = [...shared.map][0]!;
  stores.at(-1)!({ key, newValue });
  expect(await waited).toBe('access-1');
  expect(server.calls).toBe(1);
});

test('another page is told why nobody is signed in any more', async () => {
  const { map, ...storage } = storageOf();
  let onStorage!: (event: { key: string | null; newValue: string | null }) => void;
  vi.stubGlobal('addEventListener', (_type: string, listener: typeof onStorage) => (onStorage = listener));
  const server = serverOf();
  await sessionOf(server.post, { storage }).start('alice', server.tokens());
  const other = sessionOf(server.post, { storage });
  const tellOther = onStorage;
  const events: Parameters<typeof onStorage>[0][] = [];
  const one = sessionOf(server.post, {
    storage: {
      getItem: storage.getItem,
      setItem: (key, newValue) => (storage.setItem(key, newValue), events.push({ key, newValue })),
      removeItem: (key) => (storage.removeItem(key), events.push({ key, newValue: null })),
    },
  });
  await one.end('signed-out');
  // Nothing of the user is left, and nothing else.
  expect(map.size).toBe(0);
  // A browser tells later, when what it tells of is over.
  events.forEach(tellOther);
  await vi.waitFor(() => expect(other.store.get()).toEqual({ status: 'signed-out', reason: 'signed-out' }));
});

test('a password is changed at once, also if the token is due: that does not wait for its own lock', async () => {
  stubLocks();
  vi.useFakeTimers({ toFake: ['performance'] });
  const paths: string[] = [];
  vi.stubGlobal('fetch', async (url: string) => {
    paths.push(new URL(url).pathname);
    return Response.json({ jwt: `token ${paths.length}`, expires_in: 900, refresh_token: `refresh ${paths.length}` });
  });
  const client = createClient({ url: 'http://server', auth: { storage: storageOf() } });
  await client.signIn({ username: 'alice', password: 'x' });
  vi.advanceTimersByTime(890_000);
  const began = Date.now();
  await client.changePassword({ password: 'x', newPassword: 'y' });
  expect(Date.now() - began).toBeLessThan(5_000);
  expect(paths).toEqual(['/login', '/refresh', '/change_password']);
  client.close();
});

test('no tab asks for a token of the former sign-ins while they are being replaced', async () => {
  stubLocks();
  const storage = storageOf();
  const paths: string[] = [];
  const gate = createGate();
  let isReplaced = false;
  const unauthorized = (code: string) => Response.json({ code, error: code }, { status: 401 });
  vi.stubGlobal('fetch', async (url: string, { body, headers }: any) => {
    const path = new URL(url).pathname;
    paths.push(path);
    if (path === '/login') return Response.json({ jwt: 'old', expires_in: 900, refresh_token: 'old' });
    if (path === '/refresh') return JSON.parse(body).refresh_token === 'old' && isReplaced ? unauthorized('session_ended') : new Response('');
    if (path === '/me') return headers.authorization === 'Bearer new' ? Response.json({ username: 'alice' }) : unauthorized('unauthorized');
    if (path !== '/two_factor_confirm') return new Response('');
    isReplaced = true;
    await gate.isOpen;
    return Response.json({ jwt: 'new', expires_in: 900, refresh_token: 'new', recovery_codes: ['one'] });
  });
  const clientOf = () => createClient<any>({ url: 'http://server', auth: { storage } });
  const one = clientOf();
  await one.signIn({ username: 'alice', password: 'x' });
  const other = clientOf();
  const states: string[] = [];
  for (const { session } of [one, other]) session.subscribe(() => states.push(session.get().status));
  const confirmed = one.twoFactorConfirm({ totp: '123456' });
  await vi.waitFor(() => expect(paths).toContain('/two_factor_confirm'));
  // Both tabs, in the meantime, have a token that the server does not take any more.
  const answers = [one.me(), other.me()];
  await vi.waitFor(() => expect(paths.filter((path) => path === '/me')).toHaveLength(2));
  gate.open();
  expect(await confirmed).toEqual({ recovery_codes: ['one'] });
  for (const answer of await Promise.all(answers)) expect(answer.username).toBe('alice');
  expect(states).toEqual([]);
  expect(paths).not.toContain('/refresh');
  for (const client of [one, other]) client.close();
});
