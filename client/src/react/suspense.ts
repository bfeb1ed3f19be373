// The hooks that show the nearest <Suspense>'s fallback until everything has come for the first time.
import { useEffect, useRef } from 'react';
import { matches } from '../filter.js';
import type { DataOf, Item, Name, NameOf, NameOrFilter } from '../types.js';
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
  // Both versions of React wait for a promise that is thrown, and then render again.
  throw client.ready(filter);
}
