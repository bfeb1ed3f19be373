// Changing the latest event, again and again until nobody else was faster.

import { ConflictError } from './errors.js';
import { toEntry } from './filter.js';
import { query } from './http.js';
import { pause } from './store.js';
import type { Ack, InsertOptions, Item, RequestOptions } from './types.js';
import type { Writing, WritesHost } from './writes.js';

/** So often a change is made again because somebody else was faster. */
const MAX_UPDATES = 50;

export default async function update(
  { cache, connection, request }: WritesHost,
  insert: Writing,
  more: RequestOptions,
  event: string,
  change: (data: any, item: Item | undefined) => unknown,
  { expiresIn, optimistic }: Pick<InsertOptions, 'expiresIn' | 'optimistic'> = {},
): Promise<Ack> {
  let current: Item | null;
  if (connection.get().state === 'live' && cache.isReady(event)) {
    // What the stream has told is the latest, without what is pending.
    const entry = cache.entry(event);
    current = entry?.isConfirmed ? entry.item : null;
  } else {
    // Events of other names come along if this one has a comma.
    const events: Item[] = await request(`/events?${query({ events: toEntry(event) })}`, Object.assign(more, { isWhole: Array.isArray }));
    current = events.find((item) => item.event === event) ?? null;
  }
  for (let tries = 0; ; tries++) {
    const data = change(current?.data, current ?? undefined);
    try {
      return await insert([{ event, data, expiresIn }], true, { more, optimistic, ifMatch: current?.id, ifNoneMatch: !current });
    } catch (error) {
      if (!(error instanceof ConflictError) || tries >= MAX_UPDATES) throw error;
      const next: Item | null = error.current;
      // It is there, and this user may not see it.
      if (!next && !current) throw error;
      current = next;
      // Of many writers that try at once one gets on each time; the others need not all come again at once.
      if (tries) await pause(Math.random() * 20 * tries);
    }
  }
}
