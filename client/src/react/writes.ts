// The hooks that change something.
import { useMemo, useState } from 'react';
import type { BrokerError } from '../errors.js';
import type { Ack, Client, InsertItemOf, InsertOptions, Item, Name, Outbox, OutboxStatus, Queued, RemoveOptions } from '../types.js';
import { useClient } from './context.js';
import { useStore } from './hooks.js';
import type { Events } from './register.js';

/** The writes of the client. They never fail: they give `undefined`, and `error` says why, so that a handler need not catch. */
export interface Inserts {
  insert<N extends Name<Events>>(name: N, data: Events[N], options?: InsertOptions): Promise<Ack | undefined>;
  insertAll(
    items: readonly InsertItemOf<Events>[],
    options?: Pick<InsertOptions, 'key' | 'optimistic'>,
  ): Promise<Ack[] | undefined>;
  update<N extends Name<Events>>(
    name: N,
    change: (data: Events[N] | undefined, item: Item<Events[N]> | undefined) => Events[N],
    options?: Pick<InsertOptions, 'expiresIn' | 'optimistic'>,
  ): Promise<Ack | undefined>;
  remove<N extends Name<Events>>(name: N, options?: RemoveOptions): Promise<Ack | undefined>;
  /** Whether one of them is under way. */
  readonly pending: boolean;
  /** Why the last one that has ended failed; `undefined` if it did not. */
  readonly error: BrokerError | undefined;
}

const IDLE = { pending: 0, error: undefined as BrokerError | undefined };

/** Inserts, changes and removes events, and says how that went. */
export function useInsert(): Inserts {
  const client = useClient();
  const [{ pending, error }, set] = useState(IDLE);
  const writes = useMemo(() => {
    const told =
      (write: (...args: any[]) => Promise<any>) =>
      async (...args: any[]) => {
        set((now) => ({ ...now, pending: now.pending + 1 }));
        let failed: BrokerError | undefined;
        try {
          return await write(...args);
        } catch (reason) {
          failed = reason as BrokerError;
        } finally {
          set((now) => ({ pending: now.pending - 1, error: failed }));
        }
      };
    const { insert, insertAll, update, remove } = client as Client<any>;
    return { insert: told(insert), insertAll: told(insertAll), update: told(update), remove: told(remove) };
  }, [client]);
  return useMemo(() => ({ ...writes, pending: pending > 0, error }), [writes, pending, error]);
}

export interface OutboxHook extends Omit<Outbox<Events>, 'pending' | 'status'> {
  /** What waits, the oldest first. */
  readonly pending: readonly Queued[];
  readonly status: OutboxStatus;
}

const NOTHING: readonly Queued[] = Object.freeze([]);
const AT_REST: OutboxStatus = Object.freeze({ state: 'idle', durable: true });

/** What was made offline, and how to add to it. The client must have the option `outbox`. */
export function useOutbox(): OutboxHook {
  const { outbox } = useClient();
  if (!outbox) throw new Error('broker-client/react: useOutbox() needs a client with the option `outbox`');
  const pending = useStore(outbox.pending, NOTHING);
  const status = useStore(outbox.status, AT_REST);
  return useMemo(() => ({ ...outbox, pending, status }), [outbox, pending, status]);
}
