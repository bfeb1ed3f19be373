// The outbox: changes that are kept on disk before they are shown as queued, and sent when the server can be reached.

import { BrokerError, refusal } from '../errors.js';
import { headersOf, isReceiptOf } from '../http.js';
import { watchPage } from '../page.js';
import { call, createEmitter, createStore, openChannel, randomKey, type Writable } from '../store.js';
import { createClock } from './clock.js';
import type {
  Ack,
  AttachedPlugin,
  Host,
  InsertOptions,
  Outbox,
  OutboxPlugin,
  OutboxStatus,
  Overlay,
  Queued,
  QueuedHandle,
} from '../types.js';
import { openDatabase } from './database.js';
import { createQueue, type QueueRow, type QueueStatus } from './queue.js';

/** How many changes may wait. */
const LIMIT = 10_000;
/** How long to wait for the word of the tab that has sent a row, after the row was seen to be gone, in ms. */
const WORD = 1000;

export interface OutboxOptions {
  /** Called once if the browser refuses its database, or has lost it: from then on a reload forgets what waits. */
  onMemory?(error: unknown): void;
  /** Called when a change needs a decision, because it is `blocked`, `refused` or `unknown`. */
  onStop?(queued: Queued): void;
}

/** What this tab shows for a row. */
interface Entry {
  row: QueueRow;
  queued: Queued;
  overlay?: Overlay | undefined;
}

/** Who waits here for a change. */
interface Waiter {
  status: Writable<Queued>;
  resolve(ack: Ack): void;
  reject(error: BrokerError): void;
}

/** What tabs tell each other: a key was acknowledged or discarded, how sending goes, or that the disk has changed. */
type Word = { key?: string; ack?: Ack | undefined; status?: QueueStatus };

interface Run {
  owner: string;
  wake(): Promise<unknown>;
  added(row: QueueRow): void;
  tell(word: Word): void;
  stop(): void;
}

/** The user has ended the sign-in for good: nothing that waits will be sent. */
const isOver = (reason?: string) => reason === 'signed-out' || reason === 'deleted';

export function createOutbox(options: OutboxOptions = {}): OutboxPlugin {
  return { attach: (host) => attach(host, options) };
}

function show(row: QueueRow): Queued {
  const { event, data = null } = JSON.parse(row.body);
  const { key, state, refusal: why } = row;
  return {
    key,
    event,
    data,
    state,
    ...(row.path === '/remove' && { removed: true }),
    ...(why && { error: refusal(why.status, { ...why, error: why.message }) }),
  };
}

function attach(host: Host, { onMemory, onStop }: OutboxOptions): Outbox & AttachedPlugin {
  const name = `broker ${host.url}`;
  const status = createStore<OutboxStatus>({ state: 'idle', durable: true });
  const changes = createEmitter();
  /** What is shown; undefined until it is asked for after a change. */
  let shown: readonly Queued[] | undefined = [];
  const entries = new Map<string, Entry>();
  const waiters = new Map<string, Waiter>();
  /** Keys that were acknowledged or discarded, and may still be on the disk. */
  const over = new Set<string>();
  let run: Run | undefined;
  const clock = createClock(host);

  const database = openDatabase<QueueRow>(name, (error) => {
    status.set({ ...status.get(), durable: false });
    if (onMemory) call(onMemory, error);
  });

  const get = () => (shown ??= [...entries.values()].sort((a, b) => a.row.seq - b.row.seq).map(({ queued }) => queued));

  /** Tells of all changes of a moment at once: there may be thousands. */
  const publish = () => {
    if (shown) {
      queueMicrotask(() => {
        get();
        changes.emit();
      });
    }
    shown = undefined;
  };

  const set = (entry: Entry, queued: Queued) => {
    entry.queued = queued;
    waiters.get(queued.key)?.status.set(queued);
  };

  const discarded = () => new BrokerError('discarded', 'discarded');

  /** Ends a change: it was acknowledged, or will not be. */
  const finish = (key: string, ack?: Ack) => {
    over.add(key);
    const entry = entries.get(key);
    // What was gone already has no id.
    if (ack?.id) entry?.overlay?.accepted(ack.id);
    else entry?.overlay?.refused();
    entries.delete(key);
    const waiter = waiters.get(key);
    waiters.delete(key);
    if (waiter) {
      waiter.status.set({ ...waiter.status.get(), state: ack ? 'done' : 'discarded' });
      if (ack) waiter.resolve(ack);
      else waiter.reject(discarded());
    }
    publish();
  };

  const take = (row: QueueRow) => {
    const { key, state } = row;
    if (over.has(key)) return;
    let entry = entries.get(key);
    const before = entry?.row.state;
    if (!entry) entries.set(key, (entry = { row, queued: show(row) }));
    entry.row = row;
    if (before !== state) set(entry, show(row));
    const { event, data, removed, error } = entry.queued;
    if (state === 'queued') {
      if (row.shown) entry.overlay ??= host.overlay(event, data, removed);
      return publish();
    }
    entry.overlay?.refused();
    entry.overlay = undefined;
    if (state !== 'refused') return;
    waiters.get(key)?.reject(error!);
    waiters.delete(key);
  };

  /** Shows what is on the disk. */
  const changed = (rows: QueueRow[]) => {
    const keys = new Set(rows.map((row) => row.key));
    for (const key of over) if (!keys.has(key)) over.delete(key);
    rows.forEach(take);
    for (const [key, entry] of entries) {
      // Another tab has sent or discarded it, and is about to say which.
      if (!keys.has(key)) setTimeout(() => entries.get(key) === entry && finish(key), WORD);
    }
    publish();
  };

  const report = ({ state, retryAt, key }: QueueStatus) => {
    status.set({ state, retryAt, durable: status.get().durable });
    for (const entry of entries.values()) {
      if (entry.row.state !== 'queued') continue;
      const now = state === 'paused' ? state : entry.row.key === key ? 'sending' : 'queued';
      if (now !== entry.queued.state) set(entry, { ...entry.queued, state: now });
    }
    publish();
  };

  const start = (owner: string): Run => {
    let channel: BroadcastChannel | undefined;
    const tell = (word: Word) => channel?.postMessage(word);
    const queue = createQueue(
      database,
      owner,
      {
        now: () => clock.now(owner),
        send: ({ path, body: text, headers }) => {
          const body = JSON.parse(text);
          return host.request(path, { body, headers, as: owner, seen: clock.seen, isWhole: isReceiptOf(body) });
        },
      },
      {
        changed,
        status(next) {
          report(next);
          tell({ status: next });
        },
        sent({ key }, ack) {
          finish(key, ack);
          tell({ key, ack });
        },
        stopped(row) {
          tell({});
          if (onStop) call(onStop, show(row));
        },
      },
    );
    const { wake } = queue;
    const open = () => {
      channel ??= openChannel(`broker-client outbox 1 ${host.url} ${owner}`);
      if (channel) {
        channel.onmessage = ({ data }: MessageEvent<Word>) => {
          const { key, ack, status: next } = data ?? {};
          if (key) finish(key, ack);
          else if (next) report(next);
          else void wake();
        };
        // Node's keeps a process alive.
        (channel as { unref?(): void }).unref?.();
      }
      void wake();
    };
    // A page with an open channel is not kept in the back-forward cache.
    const close = () => {
      channel?.close();
      channel = undefined;
    };
    const stops = [
      watchPage({ wake: open, sleep: close }),
      host.lead(() => {
        const stop = queue.lead();
        void wake();
        return stop;
      }),
      host.connection.subscribe(() => host.connection.get().state === 'live' && wake()),
      queue.close,
      close,
    ];
    open();
    return {
      owner,
      wake,
      added: queue.added,
      tell,
      stop() {
        for (const stop of stops) stop();
        for (const { overlay } of entries.values()) overlay?.refused();
        entries.clear();
        publish();
      },
    };
  };

  const end = () => {
    run?.stop();
    run = undefined;
  };
  const discardAll = () => {
    for (const key of [...waiters.keys()]) finish(key);
  };

  const follow = () => {
    const { user: owner, reason } = host.session.get();
    const before = run?.owner;
    if (owner !== before) end();
    if (owner !== undefined) {
      if (owner === before) return;
      if (last !== owner) discardAll();
      last = owner;
      run = start(owner);
    } else if (isOver(reason)) {
      // It may become known later than that the sign-in has ended.
      discardAll();
    } else if (before !== undefined) {
      status.set({ state: 'paused', durable: status.get().durable });
      for (const waiter of waiters.values()) waiter.status.set({ ...waiter.status.get(), state: 'paused' });
    }
  };
  let last: string | undefined;
  const unsubscribe = host.session.subscribe(follow);
  follow();
  // Whoever gives tokens is asked who is signed in. A server that renders pages sends nothing.
  if (host.session.get().status === 'unknown' && globalThis.document) void host.ready();

  const add = async (
    path: QueueRow['path'],
    event: string,
    fields: object,
    { ifMatch, ifNoneMatch, whileConnected, transient, optimistic = true, key = randomKey() }: InsertOptions,
  ): Promise<QueuedHandle> => {
    if (host.session.get().status === 'unknown') await host.ready();
    const mine = run;
    if (!mine) throw refusal(401, { error: 'sign in first', code: 'unauthorized' });
    if (whileConnected) throw new BrokerError('outbox_while_connected', 'a stream cannot be waited for');
    if (entries.size >= LIMIT) throw new BrokerError('outbox_full', 'too many changes wait');
    if (entries.has(key) || waiters.has(key)) throw new BrokerError('idempotency_key_reused', 'the key is in use');
    const row = {
      owner: mine.owner,
      key,
      path,
      name: event,
      shown: optimistic && !transient,
      body: JSON.stringify({ event, ...fields, transient }),
      headers: headersOf({ key, ifMatch, ifNoneMatch }),
      state: 'queued' as const,
    };
    // What cannot be sent would keep all others from being sent.
    new Headers(row.headers as Record<string, string>);
    const waiting = createStore(show({ ...row, seq: 0 }));
    const done = new Promise<Ack>((resolve, reject) => waiters.set(key, { status: waiting, resolve, reject }));
    // A page that does not look at `done` must not have an unhandled rejection.
    done.catch(() => {});
    const seq = await database.add(row);
    if (run !== mine) {
      // Whoever has signed out meanwhile leaves nothing behind.
      await database.update(seq, () => undefined);
      finish(key);
      throw discarded();
    }
    const kept = { ...row, seq };
    take(kept);
    mine.added(kept);
    mine.tell({});
    return { key, status: waiting, done };
  };

  const decide = async (key: string, change: (row: QueueRow) => QueueRow | undefined) => {
    const entry = entries.get(key);
    const mine = run;
    if (!entry || !mine) return;
    await database.update(entry.row.seq, change);
    mine.tell({});
    void mine.wake();
  };

  return {
    status,
    pending: { get, subscribe: changes.on },
    enqueue: (event, data, options = {}) =>
      add('/insert', event, { data: data ?? null, expires_in: options.expiresIn }, options),
    remove: (event, options = {}) => add('/remove', event, {}, options),
    retry(key) {
      void decide(key, (row) =>
        row.state === 'queued' ? row : { ...row, state: 'queued', refusal: undefined, tried: undefined },
      );
    },
    discard(key) {
      void decide(key, () => undefined);
      if (!entries.has(key)) return;
      run?.tell({ key });
      finish(key);
    },
    async beforeSignIn(user, discard) {
      if (!(await database.hasOthers(user))) return;
      if (!discard) throw new BrokerError('outbox_pending', 'changes of another user have not been sent');
      await database.wipe('outbox', user, true);
    },
    async beforeSignOut(discard) {
      if (!run) return;
      const { owner } = run;
      if (!(await database.list(owner)).length) return;
      if (!discard) throw new BrokerError('outbox_pending', 'changes have not been sent');
      end();
      discardAll();
      await database.wipe('outbox', owner);
    },
    async wipe(user) {
      // A session that has ended by itself pauses. After a sign-out, another tab may have kept something since it was asked for.
      if (user === undefined || !isOver(host.session.get().reason)) return;
      if (!run) discardAll();
      await database.wipe('outbox', user);
    },
    close() {
      unsubscribe();
      end();
      database.close();
    },
  };
}
