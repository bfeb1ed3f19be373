// Puts the parts together: `createClient`.

import type { Account } from './account.js';
import { createCache } from './cache.js';
import { createConnection } from './connection.js';
import { AuthError, BrokerError, refusal } from './errors.js';
import { bearer, send } from './http.js';
import { createInterest, PRESENCE } from './interest.js';
import { loadMore } from './load.js';
import { createSession } from './session.js';
import { shareSource } from './share.js';
import type { OpenSource, Source } from './source.js';
import { both, createEmitter, createStore, when } from './store.js';
import { chooseTransports } from './transports/choose.js';
import type { AnyEvents, AttachedPlugin, Change, Client, ClientOptions, Connection, HistoryOptions, Host, Proof, RequestOptions, Store } from './types.js';
import type { Writes } from './writes.js';

/** What `account.ts` does. */
const ACCOUNT =
  'signIn signUp me exportMe sessions updateMe endSession createInvite deleteInvite deleteMe changePassword twoFactorBegin twoFactorConfirm twoFactorEnd';

const nobody = () => new AuthError('unauthorized', 'nobody is signed in', 401);
const closed = () => new BrokerError('closed', 'closed');

/** Makes a client. Nothing is connected until something is listened to. */
export function createClient<E extends object = AnyEvents>(options: ClientOptions): Client<E> {
  if (!/^https?:/.test(options.url)) throw new TypeError('createClient: `url` must be the address of Broker, such as http://localhost:8080');
  const url = options.url.replace(/\/+$/, '');
  const open = (path: string, more: RequestOptions = {}) => send(url + path, more);
  const session = createSession(url, options.auth ?? {}, open);
  const connection = createStore<Connection>({ state: 'idle', stale: true });
  const resets = createEmitter<[reason: string]>();
  let stream: string | undefined;
  /** Tells whenever something may be ready, or never will be. */
  const moves = createEmitter();
  /** How many requests of `account.ts` are under way: one of them may sign in. */
  let pending = 0;
  /** How often somebody has signed out. */
  let signOuts = 0;
  let isClosed = false;
  let source: Source | undefined;

  /** One request with the token. A token that is refused is renewed once. */
  async function request(path: string, more: RequestOptions = {}): Promise<any> {
    if (isClosed) throw closed();
    if (more.open) return open(path, more);
    let refused: string | undefined;
    for (;;) {
      // Whoever signs in meanwhile has not asked for this. It is kept in `more`, for what takes several requests.
      more.as ??= session.store.get().user;
      const token = await session.token(refused);
      if (!token || (more.as ??= session.store.get().user) !== session.store.get().user) throw nobody();
      try {
        return await open(path, { ...more, headers: { ...more.headers, ...bearer(token) } });
      } catch (error) {
        // Of a request with a password or a code it is said of these.
        const { password, totp } = (more.body ?? {}) as Partial<Proof>;
        if ((error as BrokerError).status !== 401 || refused || (password ?? totp) !== undefined) throw error;
        refused = token;
      }
    }
  }

  /** Whoever signs in between the requests of one thing, or while it is loaded, has not asked for it. */
  const asker = (): RequestOptions => ({ as: session.store.get().user });

  const interest = createInterest(() => (source ??= openSource()));
  const cache = createCache(interest.covers);
  cache.seed(options.initialEvents ?? []);
  const initialEvents = cache.all('*');

  const own: OpenSource = createConnection({
    url,
    session,
    request,
    transports: chooseTransports(options.transport),
  });

  const ready = () => session.token().catch(() => undefined);
  const sharing = shareSource(own, { url, isAlone: options.share === false, session: session.store, ready, snapshot: cache.snapshot });

  function openSource(): Source {
    return sharing.open((message) => {
      cache.take(message);
      if (message.kind === 'state') {
        stream = message.stream;
        connection.set(message.connection);
      } else if (message.kind === 'fresh' && (message.reason || cache.isSynced())) {
        resets.emit(message.reason ?? 'gap');
      }
      moves.emit();
    });
  }

  function overlay(event: string, data: unknown, isRemoved?: boolean) {
    return cache.overlay(event, data, session.store.get().user ?? '', isRemoved);
  }

  const host: Host = {
    url,
    session: session.store,
    connection,
    request,
    overlay,
    seed: cache.seed,
    onItem: cache.onItem,
    ready,
    lead(onLead) {
      source ??= openSource();
      return sharing.lead(onLead);
    },
  };
  const outbox = options.outbox?.attach(host);
  const plugins: AttachedPlugin[] = [outbox, options.cache?.attach(host)].flatMap((plugin) => plugin ?? []);

  /** What one user was shown is nothing for the next. */
  let shownTo: string | undefined;
  let wiped: Promise<void> | undefined;
  const onSession = () => (wiped = change());
  async function change() {
    const { status, user } = session.store.get();
    if (status === 'unknown' || user === shownTo) return;
    const former = shownTo;
    shownTo = user;
    if (former === undefined) return;
    cache.wipe();
    for (const plugin of plugins) await plugin.wipe?.(former);
  }
  session.store.subscribe(onSession);
  onSession();

  /** Ends a session that nobody uses any more, whatever the server says. */
  const logout = async (refresh_token?: string): Promise<void> => {
    if (refresh_token) await open('/logout', { body: { refresh_token }, timeout: 5000 }).catch(() => undefined);
  };

  let writes: Writes | undefined;
  const loadWrites = async () =>
    (writes ??= (await loadMore()).createWrites({
      request,
      asker,
      overlay,
      connection,
      cache,
      async stream() {
        // What was listened to just before is asked for in a moment.
        await undefined;
        await when(moves.on, () => !['connecting', 'syncing'].includes(connection.get().state));
        return stream;
      },
    }));
  loadWrites().catch(() => {});
  /** What is loaded is shown at once. */
  const write =
    (name: keyof Writes) =>
    async (...options: any[]): Promise<any> => {
      const { as } = asker();
      const { [name]: run } = writes ?? (await loadWrites());
      if (as && as !== asker().as) throw nobody();
      return (run as any)(...options);
    };

  const storeOf = <T>(filter: string, get: (filter: string) => T): Store<T> => ({
    get: () => get(filter),
    subscribe: (listener) => both(cache.watch(filter, listener), interest.add(filter)),
  });

  const account = Object.fromEntries(
    ACCOUNT.split(' ').map((name) => [
      name,
      async (options?: unknown) => {
        const more = asker();
        const before = signOuts;
        pending++;
        try {
          return await (await loadMore()).account({ request, session, plugins, logout, isOut: () => before < signOuts }, name, more, options);
        } finally {
          pending--;
          moves.emit();
        }
      },
    ]),
  ) as unknown as Account;

  const client: Client = {
    session: session.store,
    connection,
    outbox,
    initialEvents,
    async signOut({ discard = false } = {}) {
      signOuts++;
      for (const plugin of plugins) await plugin.beforeSignOut?.(discard);
      const refresh_token = await session.refreshToken();
      await session.end('signed-out');
      await wiped;
      await logout(refresh_token);
    },
    on: (filter: string, listener: (change: Change<any, any>) => void) => both(cache.on(filter, listener), interest.add(filter)),
    latest: (name) => storeOf<any>(name, cache.latest),
    all: (filter) => storeOf<any>(filter, cache.all),
    async *history(...options: [event: any, options?: HistoryOptions]): AsyncGenerator<any> {
      const more = asker();
      yield* (await loadMore()).history(request, more, ...options);
    },
    presence: () => ({
      get: cache.presence.get,
      subscribe: (listener) => both(cache.presence.subscribe(listener), interest.add(PRESENCE)),
    }),
    isReady: cache.isReady,
    async ready(filter) {
      const stop = interest.add(filter);
      // A connection that has stopped is tried again for what is new.
      await undefined;
      await when(moves.on, () => cache.isReady(filter) || isClosed || (connection.get().state === 'stopped' && !pending));
      stop();
      if (isClosed) throw closed();
      if (cache.isReady(filter)) return;
      const { reason } = connection.get();
      throw refusal(session.jwt() ? 0 : 401, { code: reason, error: `the connection has stopped: ${reason}` });
    },
    insert: write('insert'),
    insertAll: write('insertAll'),
    update: write('update'),
    remove: write('remove'),
    onReset: resets.on,
    retry: () => source?.retry(),
    close() {
      if (isClosed) return;
      isClosed = true;
      interest.close();
      source?.close();
      connection.set({ state: 'idle', stale: true });
      moves.emit();
      for (const plugin of plugins) plugin.close();
      session.close();
    },
    ...account,
  };
  return client as unknown as Client<E>;
}
