// The sign-in: its tokens in the storage, and who is told of them.

import { parse } from './http.js';
import { isKept, type Kept } from './kept.js';
import { loadMore } from './load.js';
import type { Renewable } from './renewal.js';
import { createEmitter, now } from './store.js';
import type { AuthOptions, KeyValueStorage, RequestOptions, Session, Stop, Store } from './types.js';

export interface SessionKeeper {
  /** The name in the storage, and of the lock of the renewal. */
  readonly key: string;
  readonly store: Store<Session>;
  /** A token that lasts a while; undefined if nobody is signed in. `refused` is one that the server did not take. */
  token(refused?: string): Promise<string | undefined>;
  /** Milliseconds until the token should be renewed. */
  due(): number;
  /** The token that may be used last without asking anybody. */
  jwt(): string | undefined;
  /** The refresh token, to end the session. */
  refreshToken(): Promise<string | undefined>;
  /** Signs in. */
  start(next: Kept): Promise<void>;
  /** Forgets the sign-in. */
  end(reason: string): Promise<void>;
  /** Calls the listener when the token has changed. */
  onToken(listener: () => void): Stop;
  close(): void;
}

type Post = (path: string, options: RequestOptions) => Promise<any>;

function chooseStorage(choice: AuthOptions['storage'] = 'local'): KeyValueStorage | undefined {
  try {
    // A page in a sandbox must not even look at it.
    return choice === 'local' ? globalThis.localStorage : choice === 'memory' ? undefined : choice;
  } catch {
    return;
  }
}

export function createSession(url: string, auth: AuthOptions, post: Post): SessionKeeper {
  const supplier = auth.token;
  // What somebody else supplies is kept there.
  const storage = supplier ? undefined : chooseStorage(auth.storage);
  // The secure storage of Expo takes these characters only.
  const key = `broker-client.${encodeURIComponent(url).replace(/[^\w.-]/g, '_')}`;
  const changes = createEmitter();
  const tokens = createEmitter();
  let kept: Kept | undefined;
  let session: Session = { status: 'unknown' };
  /** What listeners know. */
  let told = session;
  let toldJwt: string | undefined;
  /** When the token should be renewed, by the time that passes. */
  let dueAt = Infinity;
  let renewing: Promise<string | undefined> | undefined;
  let loading: Promise<void> | undefined;
  /** Counts what is kept: what was asked for before that is older. A storage answers in the order in which it is asked. */
  let writes = 0;
  /** The storage has what is known here. Where it cannot be written, what it has is older. */
  let isStored = true;

  function take(next: Kept | undefined, reason?: string) {
    if (next && next.jwt !== kept?.jwt) {
      const life = next.life! >= 1 ? next.life! * 1000 : Infinity;
      const age = Math.max(0, Date.now() - (next.at ?? 0));
      dueAt = now() + life - age - Math.min(30_000, life / 5);
    }
    kept = next;
    const is: Session = next ? { status: 'signed-in', user: next.user } : { status: 'signed-out', reason };
    // It stays the same object as long as nothing changes.
    if (JSON.stringify(is) !== JSON.stringify(session)) session = is;
  }

  /** Tells what has changed. Who listens is code of the application, which must not run under a lock. */
  function tell() {
    const isOther = toldJwt !== kept?.jwt;
    toldJwt = kept?.jwt;
    if (told !== session) {
      told = session;
      changes.emit();
    }
    if (isOther) tokens.emit();
  }

  async function find(reason?: string) {
    const before = writes;
    let next = kept;
    if (supplier) {
      ({ kept: next, reason } = await (await loadMore()).supplied(supplier));
    } else if (storage && isStored) {
      try {
        let text = storage.getItem(key);
        // At once if the storage can: a page that is signed in must not flicker.
        if ((text as Promise<unknown>)?.then) text = await text;
        const found = parse(text as string);
        if (!isKept(found)) next = undefined;
        // Whoever used the token has its successor, and is about to write it.
        else if (!kept?.spent || found.refresh !== kept.spent) next = found;
        reason ??= found?.reason;
      } catch {
        // What is known stays.
      }
    }
    // The first reason that is known is the right one.
    if (before === writes) take(next, kept || supplier ? reason : (session.reason ?? reason));
  }
  const look = (reason?: string) => find(reason).then(tell);

  async function keep(next: Kept | undefined, reason?: string) {
    writes++;
    take(next, reason);
    const mine = writes;
    // Where it is full or forbidden, the sign-in lasts as long as the page.
    const write = (run: () => unknown) =>
      new Promise((resolve) => resolve(run())).then(
        () => true,
        () => false,
      );
    const remove = () => write(() => storage?.removeItem(key));
    // Other tabs are told why it has gone.
    const set = () => write(() => storage?.setItem(key, JSON.stringify(next ?? { reason })));
    const written = set();
    if (!next) await remove();
    let isDone = await written;
    if (mine !== writes) return;
    if (!isDone) {
      // What is there is of a former sign-in, or has been used. Without it there may be room.
      await remove();
      if (mine !== writes) return;
      isDone = !!next && (await set());
    }
    if (mine === writes) isStored = isDone;
  }
  const change = async (next?: Kept, reason?: string) => {
    const done = keep(next, reason);
    tell();
    await done;
    // Browsers tell other pages, and not the other clients of this one.
    const newValue = JSON.stringify(next ?? { reason });
    if (storage && isStored && globalThis.StorageEvent) dispatchEvent(new StorageEvent('storage', { key, newValue }));
  };

  const onStorage = ({ key: name, newValue }: StorageEvent) => {
    if (!storage || (name !== key && name !== null)) return;
    const news = parse(newValue);
    if (news?.jwt) isStored = true;
    look(news?.reason).catch(() => {});
  };
  globalThis.addEventListener?.('storage', onStorage as any);
  /** Once, unless it fails, as only a supplier may. */
  const loaded = () =>
    (loading ??= look().catch((error) => {
      loading = undefined;
      throw error;
    }));
  // A page shows who is signed in, also if nothing else asks. A server that renders pages says nothing of a session.
  if (typeof document !== 'undefined' || auth.storage || globalThis.navigator?.product === 'ReactNative') loaded().catch(() => {});
  // Nobody listens yet.
  tell();

  const renewable: Renewable = { key, isSupplied: !!supplier, kept: () => kept, find, take, keep, change, post, onToken: tokens.on };

  return {
    key,
    store: { get: () => session, subscribe: changes.on },
    async token(refused) {
      await loaded();
      // What supplies tokens is asked again, even if it had none.
      if (!kept && supplier) await look();
      if (!kept) return;
      const old = kept.jwt;
      const isRefused = old === refused;
      if (!isRefused && (now() < dueAt || !kept.refresh)) return old;
      const run = async () => (await loadMore()).renew(renewable, old);
      renewing ??= run().finally(() => {
        renewing = undefined;
        tell();
      });
      try {
        return await renewing;
      } catch (error) {
        // It is not over yet.
        if (isRefused) throw error;
        return old;
      }
    },
    // A timer may be a moment early.
    due: () => (kept?.refresh ? Math.max(0, dueAt - now()) + 10 : Infinity),
    jwt: () => kept?.jwt,
    async refreshToken() {
      await loaded().catch(() => {});
      // The server ends the session by a former one, too.
      return kept?.refresh ?? kept?.spent;
    },
    start: change,
    end: (reason) => change(undefined, reason),
    onToken: tokens.on,
    close: () => globalThis.removeEventListener?.('storage', onStorage as any),
  };
}
