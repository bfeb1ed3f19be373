// What is listened to: references are counted, and what nobody listens to any more is kept for a moment, because pages turn and
// components are mounted twice.

import { covers, toEntry, union } from './filter.js';
import type { Source } from './source.js';
import type { Stop } from './types.js';

const LINGER = 1000;
/** Stands for who is online. No event has such a name. */
export const PRESENCE = '$presence';

export interface Interest {
  /** Listens to a name or filter, or to {@link PRESENCE}, until the function that it gives is called. */
  add(nameOrFilter: string): Stop;
  covers(name: string): boolean;
  close(): void;
}

export function createInterest(source: () => Source): Interest {
  const counts = new Map<string, number>();
  let isPlanned = false;
  let isClosed = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  /** What nobody listened to when that was looked at last, nor since. */
  let idle = new Set<string>();

  function flush() {
    isPlanned = false;
    if (isClosed) return;
    source().want({
      events: union([...counts.keys()].filter((entry) => entry !== PRESENCE)),
      presence: counts.has(PRESENCE),
    });
  }

  function drop() {
    timer = undefined;
    const former = idle;
    idle = new Set();
    for (const [entry, count] of counts) {
      if (count) continue;
      if (former.has(entry)) counts.delete(entry);
      else idle.add(entry);
    }
    if (idle.size) timer = setTimeout(drop, LINGER);
    flush();
  }

  function add(entry: string): Stop {
    counts.set(entry, (counts.get(entry) ?? 0) + 1);
    idle.delete(entry);
    // All that a page asks for while it is drawn is one change.
    if (!isPlanned) queueMicrotask(flush);
    isPlanned = true;
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      counts.set(entry, counts.get(entry)! - 1);
      if (!isClosed) timer ??= setTimeout(drop, LINGER);
    };
  }

  return {
    add: (nameOrFilter) => add(toEntry(nameOrFilter)),
    covers: (name) => covers([...counts.keys()], name),
    close() {
      isClosed = true;
      clearTimeout(timer);
    },
  };
}
