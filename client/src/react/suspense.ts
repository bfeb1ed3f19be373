// The hooks that show the nearest <Suspense>'s fallback until everything has come for the first time.
import { useEffect, useRef } from 'react';
import type { BrokerError } from '../errors.js';
import { matches } from '../filter.js';
import type { Client, DataOf, Item, Name, NameOf, NameOrFilter } from '../types.js';
import { useClient } from './context.js';
import { useAll, useLatest } from './hooks.js';
import type { Events } from './register.js';

/** As `useLatest`, but waits until it is known whether there is an event. */
export function useSuspenseLatest<N extends Name<Events>>(name: N): Item<Events[N], N> | undefined {
  useReady(name);
  return useLatest(name);
}

/** As `useAll`, but waits until all events have come. */
export function useSuspenseAll<F extends NameOrFilter<Events>>(filter: F): readonly Item<DataOf<Events, F>, NameOf<Events, F>>[] {
  useReady(filter);
  return useAll(filter);
}

function useReady(filter: NameOrFilter<Events>): void {
  const client = useClient();
  const shown = useRef<string>(undefined);
  useEffect(() => {
    shown.current = filter;
  });
  // A server does not listen, and what it has read is there when the page takes over.
  if (typeof window === 'undefined' || client.initialEvents.some(({ event }) => matches(filter, event))) return;
  // What is on the screen stays there while the page connects again.
  if (shown.current === filter || client.isReady(filter)) return;
  const wait = waitFor(client, filter);
  if (wait.error) throw wait.error;
  // Both versions of React wait for a promise that is thrown, and then render again.
  throw wait.end;
}

interface Wait {
  end: Promise<unknown>;
  error?: BrokerError;
}

const waits = new WeakMap<object, Map<string, Wait>>();

/** One wait for all who ask, which React asks for again to learn how it ended. */
function waitFor(client: Client<any>, filter: string): Wait {
  const all = waits.get(client) ?? new Map<string, Wait>();
  waits.set(client, all);
  const known = all.get(filter);
  // As long as the connection has stopped, it would fail again.
  if (known && (!known.error || client.connection.get().state === 'stopped')) return known;
  const wait: Wait = {
    end: client.ready(filter).then(
      () => all.delete(filter),
      (error) => (wait.error = error),
    ),
  };
  all.set(filter, wait);
  return wait;
}
