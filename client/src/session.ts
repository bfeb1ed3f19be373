// The sign-in: its tokens in the storage, and their renewal, one at a time over all tabs.

import type { BrokerError } from './errors.js';
import { parse } from './http.js';
import { locked } from './lock.js';
import { createEmitter, createStore, now } from './store.js';
import type { AuthOptions, KeyValueStorage, RequestOptions, Session, Stop, Store } from './types.js';

/** What `/login` and `/refresh` answer. */
export interface Tokens {
  jwt: string;
  expires_in?: number;
  refresh_token?: string;
}

/** What is kept in the storage. */
interface Kept {
  user: string;
  jwt: string;
  refresh?: string;
  /** Seconds that the token lasts, and when it was given, by the clock of the machine: a hint only. */
  life?: number;
  at?: number;
}

export interface SessionKeeper {
  readonly store: Store<Session>;
  /** A token that lasts a while; undefined if nobody is signed in. `refused` is one that the server did not take. */
  token(refused?: string): Promise<string | undefined>;
  /** Milliseconds until the token should be renewed. */
  due(): number;
  /** The token that may be used last without asking anybody. */
  jwt(): string | undefined;
  /** The refresh token, to end the session. */
  refreshToken(): string | undefined;
  start(user: string, tokens: Tokens): Promise<void>;
  /** Forgets the sign-in. */
  end(reason: string): Promise<void>;
  /** Calls the listener when the token has changed. */
  onToken(listener: () => void): Stop;
  close(): void;
}

type Post = (path: string, options: RequestOptions) => Promise<any>;

function chooseStorage(choice: AuthOptions['storage'] = 'local'): KeyValueStorage | undefined {
  if (typeof choice === 'object') return choice;
  try {
    // A page in a sandbox must not even look at it.
    return choice === 'local' ? globalThis.localStorage : undefined;
  } catch {
    return;
  }
}

/** The user in a token that somebody else has made. */
function userOf(jwt: string): string {
  try {
    // `escape` makes text of UTF-8, also where there is no TextDecoder.
    return JSON.parse(decodeURIComponent(escape(atob(jwt.split('.')[1]!.replace(/-/g, '+').replace(/_/g, '/'))))).sub;
  } catch {
    return '';
  }
}

export function createSession(url: string, auth: AuthOptions, post: Post): SessionKeeper {
  const supplier = auth.token;
  const storage = chooseStorage(auth.storage);
  const key = `broker-client ${url}`;
  const store = createStore<Session>({ status: 'unknown' });
  const tokens = createEmitter();
  let kept: Kept | undefined;
  /** When the token should be renewed, by the time that passes. */
  let dueAt = Infinity;
  let renewing: Promise<string | undefined> | undefined;
  let loading: Promise<void> | undefined;
  /** Counts what is kept: what was asked for before that is older. A storage answers in the order in which it is asked. */
  let writes = 0;

  function take(next: Kept | undefined, reason?: string) {
    const isOther = next?.jwt !== kept?.jwt;
    kept = next;
    if (next && isOther) {
      const life = (next.life ?? Infinity) * 1000;
      const age = Math.max(0, Date.now() - (next.at ?? 0));
      dueAt = now() + life - age - Math.min(30_000, life / 5);
    }
    const { status, user } = store.get();
    if (!next) {
      if (status !== 'signed-out') store.set({ status: 'signed-out', reason });
    } else if (status !== 'signed-in' || user !== next.user) store.set({ status: 'signed-in', user: next.user });
    if (isOther) tokens.emit();
  }

  async function load() {
    const before = writes;
    let next = kept;
    if (supplier) {
      const jwt = typeof supplier === 'function' ? await supplier() : supplier;
      next = jwt ? { user: userOf(jwt), jwt } : undefined;
    } else if (storage) {
      try {
        let text = storage.getItem(key);
        // At once if the storage can: a page that is signed in must not flicker.
        if ((text as Promise<unknown>)?.then) text = await text;
        next = parse(text as string) || undefined;
      } catch {
        // What is known stays.
      }
    }
    if (before === writes) take(next, supplier && 'signed-out');
  }

  async function keep(next: Kept | undefined, reason?: string) {
    writes++;
    take(next, reason);
    try {
      await (next ? storage?.setItem(key, JSON.stringify(next)) : storage?.removeItem(key));
    } catch {
      // It is full or forbidden: the sign-in lasts as long as the page.
    }
  }

  /** Looks up what another tab may have done, and renews the token if it is still the one that is too old. */
  async function renew(old: string): Promise<string | undefined> {
    await load();
    const used = kept;
    if (!used || used.jwt !== old) return used?.jwt;
    if (!used.refresh) return void (await keep(undefined, 'expired'));
    let tokens: Tokens;
    try {
      tokens = await post('/refresh', { body: { refresh_token: used.refresh }, timeout: 5000 });
    } catch (error) {
      if ((error as BrokerError).status !== 401) throw error;
      await load();
      // Else another tab without locks was faster.
      if (kept?.refresh === used.refresh) await keep(undefined, (error as BrokerError).code);
      return kept?.jwt;
    }
    // Without a successor the token was one that had been used already: who used it has the successor. Or it was signed out or in again
    // meanwhile, perhaps in another tab.
    await load();
    if (!tokens.refresh_token) await load();
    if (kept?.user !== used.user || (kept.refresh && kept.refresh !== used.refresh)) return kept?.jwt;
    await keep(keptOf(used.user, tokens));
    return tokens.jwt;
  }

  const keptOf = (user: string, { jwt, expires_in, refresh_token }: Tokens): Kept => ({
    user,
    jwt,
    refresh: refresh_token,
    life: expires_in,
    at: Date.now(),
  });

  const onStorage = (event: StorageEvent) => {
    if (event.key === key || event.key === null) load().catch(() => {});
  };
  globalThis.addEventListener?.('storage', onStorage as any);
  /** Once, unless it fails, as only a supplier may. */
  const loaded = () =>
    (loading ??= load().catch((error) => {
      loading = undefined;
      throw error;
    }));
  // A page shows who is signed in, also if nothing else asks. A server that renders pages says nothing of a session.
  if (typeof document !== 'undefined' || auth.storage || globalThis.navigator?.product === 'ReactNative') loaded().catch(() => {});

  return {
    store,
    async token(refused) {
      await loaded();
      // What supplies tokens is asked again, even if it had none.
      if (!kept && supplier) await load();
      if (!kept) return;
      const old = kept.jwt;
      const isRefused = old === refused;
      if (!isRefused && (now() < dueAt || !kept.refresh)) return old;
      // What supplies tokens is code of the application, which must not run under a lock.
      renewing ??= (supplier ? renew(old) : locked(key, () => renew(old))).finally(() => (renewing = undefined));
      try {
        return await renewing;
      } catch (error) {
        // It is not over yet.
        if (isRefused) throw error;
        return old;
      }
    },
    due: () => (kept?.refresh ? Math.max(0, dueAt - now()) : Infinity),
    jwt: () => kept?.jwt,
    refreshToken: () => kept?.refresh,
    start: (user, tokens) => keep(keptOf(user, tokens)),
    end: (reason) => keep(undefined, reason),
    onToken: tokens.on,
    close: () => globalThis.removeEventListener?.('storage', onStorage as any),
  };
}
