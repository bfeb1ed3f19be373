// Earlier events of one name, and what is added to them: what a chat shows.
import { useCallback, useEffect, useRef, useState } from 'react';
import type { BrokerError } from '../errors.js';
import type { Change, Name } from '../types.js';
import { pause } from '../store.js';
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

/** So long the first reading waits for the stream, in ms: what comes between the two would be missed. */
const PATIENCE = 2000;

type State = Omit<History, 'more'>;
const EMPTY: State = { items: [], hasMore: true, loading: true, error: undefined };

/** The retained events of a name: the last ones at first, earlier ones by `more()`, new ones as they happen. */
export function useHistory<N extends Name<Events>>(name: N, { pageSize = 50 }: HistoryHookOptions = {}): History<Events[N]> {
  const client = useClient();
  const { status, user } = useSession();
  const [{ of, ...state }, set] = useState({ ...EMPTY, of: '' });
  const key = `${user} ${name}`;
  const read = useRef<() => void>(undefined);

  useEffect(() => {
    set({ ...EMPTY, of: key });
    if (status !== 'signed-in') return;
    let reader: AsyncIterator<Change> | undefined;
    let isReading = false;
    let generation = 0;
    /** The id of the last event that was read at first. */
    let newest: string | undefined;
    const known = new Map<string, Change>();
    // Ids have the same length, so they sort as text.
    const sorted = () => [...known.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
    const add = (changes: Change[], more: Partial<State>) => {
      for (const change of changes) known.set(change.id, change);
      set((now) => ({ ...now, items: sorted(), ...more }));
    };

    /** Reads the last events, or those before what is there. */
    const page = async (isFirst = false) => {
      if (isReading) return;
      isReading = true;
      const own = generation;
      set((now) => ({ ...now, loading: true, error: undefined }));
      const changes: Change[] = [];
      let hasMore = true;
      let error: BrokerError | undefined;
      try {
        const before = isFirst ? undefined : sorted()[0]?.id;
        reader ??= client.history(name, { pageSize, before })[Symbol.asyncIterator]();
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
      if (isFirst && changes.length) {
        // What was read before may end further back than this begins.
        const oldest = changes.at(-1)!.id;
        if (newest && newest < oldest) for (const id of known.keys()) if (id < oldest) known.delete(id);
        newest = changes[0]!.id;
      }
      add(changes, { hasMore, loading: false, error });
    };

    const again = () => {
      generation += 1;
      reader = undefined;
      isReading = false;
      return page(true);
    };

    const begin = async () => {
      const own = ++generation;
      known.clear();
      newest = undefined;
      set((now) => ({ ...now, loading: true }));
      // It fails where nothing will come: the history may be read all the same.
      const isReady = client.ready(name).then(
        () => true,
        () => false,
      );
      const isInTime = await Promise.race([isReady, pause(PATIENCE)]);
      if (own !== generation) return;
      const reading = again();
      if (isInTime !== undefined) return;
      const now = generation;
      await reading;
      if ((await isReady) && now === generation) void again();
    };
    read.current = () => void page();
    void begin();
    const stops = [
      client.on(name, (change) => add([change], {})),
      client.onReset(() => void begin()),
    ];
    return () => {
      generation += 1;
      for (const stop of stops) stop();
    };
  }, [client, name, pageSize, status, user]);

  const more = useCallback(() => read.current?.(), []);
  // What another user, or another name, has left is nothing to show.
  return { ...(of === key ? state : EMPTY), more };
}
