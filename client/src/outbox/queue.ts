/**
 * The state machine of the outbox: sends the rows of one owner in order, each with its key and its body until it is answered.
 *
 * What makes that exactly once is the server, which remembers keys for a day. So nothing here depends on being the only tab that
 * sends: two tabs that send the same row do no harm, and a tab may die anywhere. A row goes on disk before it is sent, a mark of its
 * first attempt too, and it leaves the disk after its answer.
 */
import type { Database, Row } from './database.js';

const HOUR = 3_600_000;
/** The server forgets a key after 24 hours. An attempt that got no answer is not repeated after this time. */
const TOO_OLD = 23 * HOUR;

export type QueueState = 'queued' | 'blocked' | 'refused' | 'unknown';

export interface Refusal {
  status: number;
  code: string;
  message: string;
  /** With 412: the latest event, or null. */
  current?: unknown;
}

export interface QueueRow extends Row {
  /** The idempotency key. */
  key: string;
  path: '/insert' | '/remove';
  /** The name that the request changes. */
  name: string;
  /** Whether the value is shown before it is acknowledged. */
  shown: boolean;
  /** The bytes of the request. */
  body: string;
  headers: Record<string, string | undefined>;
  state: QueueState;
  /** When it was sent first without a certain answer, by the clock of the server. */
  tried?: number | undefined;
  refusal?: Refusal | undefined;
}

/** What an insert was answered. */
export interface Receipt {
  id: string;
  timestamp: number;
}

/** A refusal of the server, or no answer: what `send` and `now` throw. */
export interface Failure {
  status?: number;
  code: string;
  message: string;
  retryable: boolean;
  /** In seconds. */
  retryAfter?: number | undefined;
  current?: unknown;
}

export interface QueueHost {
  /** Sends the request as the owner of the row, or throws. */
  send(row: QueueRow): Promise<Receipt>;
  /** The time by the server's clock, or throws if the server cannot be reached now. */
  now(): Promise<number>;
}

export interface QueueStatus {
  /** `paused` until the owner signs in again, `waiting` for the next try at `retryAt`. */
  state: 'idle' | 'sending' | 'waiting' | 'paused';
  retryAt?: number;
  /** The key of the row that is being sent. */
  key?: string;
}

export interface QueueEvents {
  /** The rows have changed. */
  changed(rows: QueueRow[]): void;
  status(status: QueueStatus): void;
  /** A row was answered, and goes from the disk now. The id is empty if what was to be removed was gone already. */
  sent(row: QueueRow, receipt: Receipt): void;
  /** A row waits for a decision: it is blocked, refused or unknown. */
  stopped(row: QueueRow): void;
}

/** Whether an answer says for certain that the server has not done the request: after a 5xx it may have. */
const certain = (failure: Failure) => failure.status! >= 400 && failure.status! < 500;

export function createQueue(database: Database<QueueRow>, owner: string, host: QueueHost, on: QueueEvents) {
  let leading = false;
  let closed = false;
  let running: Promise<void> | undefined;
  let again = false;
  let failures = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  /** What was on the disk, less what was sent since: to read thousands of rows for each of them would take minutes. */
  let rows: QueueRow[] | undefined;

  const refresh = async () => {
    rows = await database.list(owner);
    if (!closed) on.changed(rows);
    return rows;
  };

  /** The first row that may be sent. Rows that were blocked, or are unknown, hold back later rows of their names. */
  const next = (rows: QueueRow[]) => {
    const held = new Set<string>();
    for (const row of rows) {
      if (row.state === 'refused') continue;
      if (row.state === 'queued' && !held.has(row.name)) return row;
      held.add(row.name);
    }
    return undefined;
  };

  const change = async (row: QueueRow, changes: Partial<QueueRow>) => {
    let changed: QueueRow | undefined;
    // Is not there any more if another tab has sent or discarded it.
    await database.update(row.seq, (kept) => (kept.key === row.key ? (changed = { ...kept, ...changes }) : kept));
    return changed;
  };

  /** Nothing is written where nothing changes, as when the server cannot be reached. What is remembered of the disk is marked, too. */
  const mark = async (row: QueueRow, tried: number | undefined) => {
    if (tried === row.tried || (await change(row, { tried }))) return Object.assign(row, { tried });
    return undefined;
  };

  const stopAt = async (row: QueueRow, changes: Partial<QueueRow>) => {
    const stopped = await change(row, changes);
    rows = undefined;
    if (stopped) on.stopped(stopped);
  };

  /** Does one thing. Gives whether there may be more to do. */
  const step = async (): Promise<boolean> => {
    const row = next(rows ?? (await refresh()));
    if (!row) {
      on.status({ state: 'idle' });
      return false;
    }
    const before = row.tried;
    let receipt: Receipt;
    try {
      on.status({ state: 'sending', key: row.key });
      const time = await host.now();
      // A clock of the server that has gone backwards says nothing about the age.
      if (before !== undefined && (time - before > TOO_OLD || before - time > HOUR)) {
        await stopAt(row, { state: 'unknown' });
        return true;
      }
      const marked = await mark(row, before ?? time);
      // It was sent or discarded meanwhile, here or in another tab; or another tab leads now.
      if (!marked) rows = undefined;
      if (!rows || !leading) return true;
      receipt = await host.send(row);
    } catch (error) {
      const failure = error as Failure;
      const tried = certain(failure) ? before : row.tried;
      // A damaged value stays damaged, and must not keep all others from being sent.
      if (failure.status && failure.status !== 401 && (!failure.retryable || failure.code === 'value_damaged')) {
        const { status, code, message, current } = failure;
        if (code === 'event_unknown' && row.path === '/remove') return done(row, { id: '', timestamp: 0 });
        await stopAt(row, { tried, refusal: { status, code, message, current }, state: status === 412 ? 'blocked' : 'refused' });
        return true;
      }
      await mark(row, tried);
      // Another tab, or another user, has the word now.
      if (!leading) return false;
      if (failure.status === 401) {
        on.status({ state: 'paused' });
        return false;
      }
      // No cap on tries. Full jitter, so that many clients do not come back at once.
      const jitter = Math.random() * Math.min(30_000, 500 * 2 ** Math.min(failures++, 6));
      const wait = failure.retryAfter ? failure.retryAfter * 1000 * (1 + Math.random()) : jitter;
      on.status({ state: 'waiting', retryAt: Date.now() + wait });
      timer = setTimeout(run, wait);
      return false;
    }
    return done(row, receipt);
  };

  const done = async (row: QueueRow, receipt: Receipt) => {
    failures = 0;
    // Said first: other tabs must not see the row go without knowing why.
    on.sent(row, receipt);
    rows = rows?.filter(({ seq }) => seq !== row.seq);
    await database.update(row.seq, () => undefined);
    return true;
  };

  const loop = async () => {
    try {
      while (again && leading) {
        again = false;
        while (leading && (await step())) /* go on */;
      }
    } finally {
      running = undefined;
    }
  };

  const go = async () => {
    clearTimeout(timer);
    again = true;
    // A loop that ends at once would be the last.
    if (leading) await (running ??= loop());
  };

  const run = () => {
    rows = undefined;
    return go();
  };

  return {
    /** Looks again, because rows were added, or somebody came online or signed in. Is fulfilled when there is no more to do now. */
    wake: (): Promise<unknown> => (leading ? run() : refresh()),
    /** Takes a row that this tab has just written, without reading thousands of others again. */
    added(row: QueueRow) {
      rows?.push(row);
      if (leading) void go();
    },
    /** From the next `wake` on this tab sends. */
    lead() {
      leading = true;
      return () => {
        leading = false;
        clearTimeout(timer);
      };
    },
    close() {
      closed = true;
      leading = false;
      clearTimeout(timer);
    },
  };
}
