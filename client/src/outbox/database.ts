/**
 * The database of one server in a browser: what waits to be sent, and the latest events. Each row belongs to an owner, the user who
 * was signed in, and is read for its owner alone.
 *
 * IndexedDB can be refused (in private windows) and can be lost while it is open (in Safari). It is opened once more then. If that
 * does not help, rows are kept in memory.
 */

/** What takes longer than this, in ms, counts as refused: browsers were seen that never answer. */
const STUCK = 5000;
/** Rows that are only in memory have numbers from here on, after all rows of the disk. */
const IN_MEMORY = 1e15;

export interface Row {
  /** The place in the order of sending. */
  seq: number;
  owner: string;
}

export interface Database<R extends Row> {
  /** Keeps a row. It is on disk, or known to be in memory only, when the promise is fulfilled. */
  add(row: Omit<R, 'seq'>): Promise<number>;
  /** Changes a row that is still there, or removes it if `change` gives nothing. */
  update(seq: number, change: (row: R) => R | undefined): Promise<void>;
  /** The rows of an owner, in order. */
  list(owner: string): Promise<R[]>;
  /** Whether other owners have rows. */
  hasOthers(owner: string): Promise<boolean>;
  /** Removes the rows or the latest events of this owner, or of everybody else. */
  wipe(store: Store, owner: string, others?: boolean): Promise<void>;
  /** Does `work` in one transaction. Gives what it asked for when that is on disk, and `otherwise` if there is no disk. */
  transact<T>(store: Store, mode: IDBTransactionMode, otherwise: T, work: (store: IDBObjectStore) => IDBRequest | void): Promise<T>;
  close(): void;
}

export type Store = 'outbox' | 'latest';

export function openDatabase<R extends Row>(
  name: string,
  onMemory: (error: unknown) => void,
  factory?: IDBFactory,
): Database<R> {
  let opened: Promise<IDBDatabase> | undefined;
  let broken = false;
  let isStuck = false;
  let seq = IN_MEMORY;
  const memory = new Map<number, R>();
  /** The rows of the disk as they were read last. They are gone on with if the disk is lost. */
  let mirror: R[] = [];

  const open = () =>
    new Promise<IDBDatabase>((resolve, reject) => {
      // Where a site may not store anything, even to look at it fails.
      const request = (factory ?? globalThis.indexedDB).open(name, 1);
      const timer = setTimeout(() => {
        isStuck = true;
        reject(new Error('IndexedDB hangs'));
      }, STUCK);
      request.onupgradeneeded = () => {
        const db = request.result;
        db.createObjectStore('outbox', { keyPath: 'seq', autoIncrement: true }).createIndex('owner', 'owner');
        db.createObjectStore('latest', { keyPath: ['owner', 'event'] }).createIndex('owner', 'owner');
      };
      request.onsuccess = () => {
        clearTimeout(timer);
        const db = request.result;
        // Somebody wants to delete the database, or the browser has closed it: the next use opens it again.
        db.onversionchange = db.onclose = () => {
          db.close();
          opened = undefined;
        };
        resolve(db);
      };
      request.onerror = () => {
        clearTimeout(timer);
        reject(request.error);
      };
    });

  const close = () => {
    void opened?.then(
      (db) => db.close(),
      () => {},
    );
    opened = undefined;
  };

  const transact = async <T>(
    store: Store,
    mode: IDBTransactionMode,
    otherwise: T,
    work: (store: IDBObjectStore) => IDBRequest | void,
  ): Promise<T> => {
    // Nothing but a removal is worth the wait for a disk that was refused before.
    if (broken && mode === 'readonly') return otherwise;
    for (let again = broken; ; again = true) {
      try {
        const db = await (opened ??= open());
        return await new Promise<T>((resolve, reject) => {
          const transaction = db.transaction(store, mode, { durability: 'strict' });
          const timer = setTimeout(() => {
            reject(new Error('IndexedDB hangs'));
            try {
              // It must not be done later, when it has been done in another way.
              transaction.abort();
            } catch {
              // It is being written. What is added again then has the same key, which the server knows.
            }
          }, STUCK);
          const request = work(transaction.objectStore(store));
          transaction.oncomplete = () => {
            clearTimeout(timer);
            resolve(request?.result as T);
          };
          transaction.onabort = () => {
            clearTimeout(timer);
            reject(transaction.error);
          };
        });
      } catch (error) {
        close();
        // If it cannot even be opened, whoever waits for it should not wait twice.
        if (again || isStuck) {
          if (!broken) onMemory(error);
          broken = true;
          return otherwise;
        }
      }
    }
  };

  /** Calls `each` with a cursor at every row of the owner, or of everybody else. */
  const walk = (store: IDBObjectStore, owner: string, others: boolean, each: (cursor: IDBCursorWithValue) => void) => {
    const request = store.openCursor();
    request.onsuccess = () => {
      const cursor = request.result;
      if (!cursor) return;
      if ((cursor.value as Row).owner !== owner === others) each(cursor);
      cursor.continue();
    };
  };

  return {
    async add(row) {
      const key = broken ? 0 : await transact<IDBValidKey>('outbox', 'readwrite', 0, (store) => store.add(row));
      if (key) return key as number;
      memory.set(++seq, { ...row, seq } as R);
      return seq;
    },
    async update(key, change) {
      const row = memory.get(key);
      if (row) {
        const changed = change(row);
        if (changed) memory.set(key, changed);
        else memory.delete(key);
        return;
      }
      mirror = mirror.flatMap((row) => (row.seq === key ? (change(row) ?? []) : row));
      // Is tried without a disk, too: a row that has been sent must not be found there later.
      await transact('outbox', 'readwrite', undefined, (store) => {
        const request = store.get(key);
        request.onsuccess = () => {
          if (!request.result) return;
          const changed = change(request.result);
          if (changed) store.put(changed);
          else store.delete(key);
        };
      });
    },
    async list(owner) {
      const rows = await transact<R[] | undefined>('outbox', 'readonly', undefined, (store) => store.index('owner').getAll(owner));
      if (rows) mirror = rows;
      return [...mirror, ...memory.values()].filter((row) => row.owner === owner);
    },
    async hasOthers(owner) {
      let found = false;
      await transact('outbox', 'readonly', undefined, (store) => walk(store, owner, true, () => (found = true)));
      return found;
    },
    async wipe(store, owner, others = false) {
      if (store === 'outbox') {
        mirror = [];
        memory.clear();
      }
      await transact(store, 'readwrite', undefined, (rows) => walk(rows, owner, others, (cursor) => cursor.delete()));
    },
    transact,
    close,
  };
}
