// Earlier events of one name, and what is added to them: what a chat shows.
import { useCallback, useEffect, useRef, useState } from 'react';
import type { BrokerError } from '../errors.js';
import type { Change, Name } from '../types.js';
import { useClient } from './context.js';
import { useSession } from './hooks.js';
import type { Events } from './register.js';

export interface HistoryHookOptions {
  /** How many events come at first, and by each `more()`. */
  pageSize?: number;
}

export interface History<D = any> {
  /** The oldest first. A removal is among them, with `removed`. */
  readonly items: readonly Change<D>[];
  /** Whether there may be earlier events. */
  readonly hasMore: boolean;
  readonly loading: boolean;
  readonly error: BrokerError | undefined;
  /** Reads earlier events. */
  more(): void;
}

type State = Omit<History, 'more'>;
const EMPTY: State = { items: [], hasMore: true, loading: true, error: undefined };

/** The retained events of a name: the last ones at first, earlier ones by `more()`, new ones as they happen. */
export function useHistory<N extends Name<Events>>(name: N, { pageSize = 50 }: HistoryHookOptions = {}): History<Events[N]> {
  const client = useClient();
  const { status, user } = useSession();
  const [state, set] = useState(EMPTY);
  const read = useRef<() => void>(undefined);

  useEffect(() => {
    set(EMPTY);
    if (status !== 'signed-in') return;
    let reader: AsyncIterator<Change> | undefined;
    let isReading = false;
    let generation = 0;
    const known = new Map<string, Change>();
    // Ids have the same length, so they sort as text.
    const sorted = () => [...known.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
    const add = (changes: Change[], more: Partial<State>) => {
      for (const change of changes) known.set(change.id, change);
      set((now) => ({ ...now, items: sorted(), ...more }));
    };

    const page = async () => {
      if (isReading) return;
      isReading = true;
      const own = generation;
      set((now) => ({ ...now, loading: true, error: undefined }));
      const changes: Change[] = [];
      let hasMore = true;
      let error: BrokerError | undefined;
      try {
        reader ??= client.history(name, { pageSize, before: sorted()[0]?.id })[Symbol.asyncIterator]();
        while (own === generation && hasMore && changes.length < pageSize) {
          const { done, value } = await reader.next();
          if (done) hasMore = false;
          else changes.push(value);
        }
      } catch (reason) {
        error = reason as BrokerError;
      }
      if (own !== generation) return;
      // A reader that has failed is over: the next try goes on after what has come.
      if (error) reader = undefined;
      isReading = false;
      add(changes, { hasMore, loading: false, error });
    };

    const begin = () => {
      generation += 1;
      known.clear();
      reader = undefined;
      isReading = false;
      void page();
    };
    read.current = () => void page();
    begin();
    const stops = [client.on(name, (change) => add([change], {})), client.onReset(begin)];
    return () => {
      generation += 1;
      for (const stop of stops) stop();
    };
  }, [client, name, pageSize, status, user]);

  const more = useCallback(() => read.current?.(), []);
  return { ...state, more };
}
