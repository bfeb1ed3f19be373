// The hooks that show something. Each renders again when its own value changes, and only then.
import { useMemo, useSyncExternalStore } from 'react';
import { matches } from '../filter.js';
import type { Client, Connection, DataOf, Item, Name, NameOf, NameOrFilter, Present, Session, Store } from '../types.js';
import { useClient } from './context.js';
import type { Events } from './register.js';

// What a server renders, and what a page shows while it takes that over. They stay the same objects, as React demands.
const NOBODY: readonly Present[] = Object.freeze([]);
const UNKNOWN: Session = Object.freeze({ status: 'unknown' });
const IDLE: Connection = Object.freeze({ state: 'idle', stale: true });

/** The value of a store, and what a server shows for it. */
export function useStore<T>(store: Store<T>, onServer: T): T {
  return useSyncExternalStore(store.subscribe, store.get, () => onServer);
}

/** The latest event of a name; `undefined` if there is none, or it has not come yet. */
export function useLatest<N extends Name<Events>>(name: N): Item<Events[N], N> | undefined {
  const client = useClient();
  const [store, onServer] = useMemo(() => [client.latest(name), initial(client, name)[0]], [client, name]);
  return useStore<Item<any, any> | undefined>(store, onServer);
}

/** The latest events of a filter such as `todo/*`, in the order of their names. */
export function useAll<F extends NameOrFilter<Events>>(filter: F): readonly Item<DataOf<Events, F>, NameOf<Events, F>>[] {
  const client = useClient();
  const [store, onServer] = useMemo(() => [client.all(filter), initial(client, filter)], [client, filter]);
  return useStore<readonly Item<any, any>[]>(store, onServer);
}

/** Who is online. */
export function usePresence(): readonly Present[] {
  const client = useClient();
  return useStore(useMemo(() => client.presence(), [client]), NOBODY);
}

/** Who is signed in. */
export function useSession(): Session {
  return useStore(useClient().session, UNKNOWN);
}

/** Whether the page is connected, and whether what it shows may be out of date. */
export function useConnection(): Connection {
  return useStore(useClient().connection, IDLE);
}

/** The events that the client began with, of a name or a filter. They are sorted by name. */
const initial = ({ initialEvents }: Pick<Client, 'initialEvents'>, filter: string): readonly Item[] =>
  Object.freeze(initialEvents.filter(({ event }) => matches(filter, event)));
