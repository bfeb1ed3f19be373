// The cache: the latest events of a user are kept, and shown at the next start before the server has answered.

import { watchPage } from '../page.js';
import type { CachePlugin, Change, Item } from '../types.js';
import { openDatabase, type Row } from './database.js';

/** How long changes are gathered before they are written, in ms. */
const GATHER = 500;

export interface CacheOptions {
  /** How many events are kept at most; 5,000 if left out. */
  limit?: number;
}

export function createCache({ limit = 5000 }: CacheOptions = {}): CachePlugin {
  return {
    attach(host) {
      const database = openDatabase<Row>(`broker ${host.url}`, () => {});
      let owner: string | undefined;
      let changes = new Map<string, Change>();
      /** The names that are kept, and the ids of their events. */
      let names = new Map<string, string>();
      let timer: ReturnType<typeof setTimeout> | undefined;
      /** All tabs are told the same, and one writes it. The others have it ready, should they lead. */
      let isLeading = false;

      const flush = () => {
        clearTimeout(timer);
        timer = undefined;
        if (owner === undefined || !isLeading) return;
        const of = owner;
        const rows: [string, Item | undefined][] = [];
        for (const [name, change] of changes) {
          if (change.removed) names.delete(name);
          else if (names.size < limit || names.has(name)) names.set(name, change.id);
          rows.push([name, names.has(name) ? change : undefined]);
        }
        changes = new Map();
        void database.transact('latest', 'readwrite', undefined, (store) => {
          for (const [event, item] of rows) {
            if (item) store.put({ owner: of, event, item });
            else store.delete([of, event]);
          }
          // A page that is being left has no time to see it end.
          store.transaction.commit?.();
        });
      };

      const follow = async () => {
        const { status, user } = host.session.get();
        const next = status === 'signed-in' ? user : undefined;
        if (next === owner) return;
        clearTimeout(timer);
        timer = undefined;
        changes = new Map();
        names = new Map();
        owner = next;
        if (next === undefined) return;
        // Nobody else's events may be left for this user to read.
        await database.wipe('latest', next, true);
        const rows = await database.transact<{ item: Item }[]>('latest', 'readonly', [], (store) => store.index('owner').getAll(next));
        const items = rows.map(({ item }) => item);
        if (owner !== next) return;
        for (const { event, id } of items) names.set(event, id);
        host.seed(items);
      };

      const unsubscribe = host.session.subscribe(() => void follow());
      void follow();
      const unlisten = host.onItem((change) => {
        if (owner === undefined || change.transient) return;
        // The stream has confirmed what is kept.
        if (names.get(change.event) === change.id && !change.removed && !changes.has(change.event)) return;
        changes.set(change.event, change);
        timer ??= setTimeout(flush, GATHER);
      });
      const unwatch = watchPage({ wake() {}, sleep: flush });
      const unlead = host.lead(() => {
        isLeading = true;
        flush();
        return () => {
          flush();
          isLeading = false;
        };
      });

      return {
        async wipe(user) {
          changes = new Map();
          if (user !== undefined) await database.wipe('latest', user);
        },
        close() {
          flush();
          unsubscribe();
          unlisten();
          unlead();
          unwatch();
          database.close();
        },
      };
    },
  };
}
