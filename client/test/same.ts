// Waits until what a client shows equals what the server has.

import type { Client, Item } from '../src/index.js';
import { PATIENCE } from './patience.js';
import type { Server } from './server.js';

/** The events of a filter that this user may see, as `/events` has them. */
export async function eventsOf(server: Server, token: string, filter: string): Promise<Item[]> {
  // A name with a comma can be asked for by a prefix only.
  const entry = filter.includes(',') ? `${filter.slice(0, filter.indexOf(','))}*` : filter;
  const events: Item[] = await server.as(token, `/events?events=${encodeURIComponent(entry)}`);
  return events.filter(({ event }) => (filter.endsWith('*') ? event.startsWith(filter.slice(0, -1)) : event === filter));
}

/** Resolves when the store of the filter equals `/events`; fails, and shows both, if it does not come to that. */
export async function same(client: Client, server: Server, token: string, filter: string, patience = PATIENCE): Promise<void> {
  const store = client.all(filter);
  const plain = (items: readonly Item[]) => items.map(({ event, id, data, username, timestamp }) => ({ event, id, data, username, timestamp }));
  const sorted = (items: Item[]) => items.sort((a, b) => (a.event < b.event ? -1 : 1));
  const expected = JSON.stringify(plain(sorted(await eventsOf(server, token, filter))));
  await new Promise<void>((resolve, reject) => {
    const end = (error?: Error) => {
      stops.forEach((stop) => stop());
      clearTimeout(timer);
      if (error) reject(error);
      else resolve();
    };
    const look = () => {
      const isThere = client.isReady(filter) && client.connection.get().state === 'live';
      if (isThere && JSON.stringify(plain(store.get())) === expected) end();
    };
    const stops = [store.subscribe(look), client.connection.subscribe(look)];
    const timer = setTimeout(() => {
      const shown = JSON.stringify(plain(store.get()));
      end(new Error(`${filter} in ${JSON.stringify(client.connection.get())}, ready ${client.isReady(filter)}:\nshown  ${shown}\nserver ${expected}`));
    }, patience);
    look();
    // The filter may be ready before the subscription of this function has been taken.
    void client.ready(filter).then(look, () => {});
  });
}
