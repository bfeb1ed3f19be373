// The outbox as a program has it, killed at every await of its own and of its requests: what it said is kept is sent once and in order.
import { IDBFactory } from 'fake-indexeddb';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Host, QueuedHandle } from '../../src/types.js';
import { startServer, type Server } from '../server.js';
import { atOnce, deathsUpTo, killable, type Death, type Life } from './killable.js';
import type * as Modules from './modules.js';

let server: Server;
let token: string;
let load: Awaited<ReturnType<typeof killable<typeof Modules>>>;

beforeAll(async () => {
  server = await startServer();
  await server.user('alice');
  token = await server.token('alice');
  load = await killable<typeof Modules>(new URL('modules.ts', import.meta.url).pathname, ['globalThis']);
});
afterAll(() => server.stop());

const still = <T>(value: T) => ({ get: () => value, subscribe: () => () => {} });

/** A tab over the one database of the browser. It leads, as all tabs do where there are no locks. Every third answer is lost. */
function openTab(indexedDB: IDBFactory, owner: string, life?: Life) {
  const module = load(life, [{ ...globalThis, indexedDB }]);
  let calls = 0;
  const host: Partial<Host> = {
    url: server.url,
    session: still({ status: 'signed-in', user: owner } as const),
    connection: still({ state: 'live', stale: false } as const),
    ready: async () => {},
    overlay: () => ({ accepted() {}, refused() {} }),
    lead: (onLead) => onLead(),
    async request(path, { as: _, headers, ...options } = {}) {
      const answer = await module.send(server.url + path, { ...options, headers: { ...headers, authorization: `Bearer ${token}` } });
      if (++calls % 3 === 0) throw Object.assign(new module.NetworkError(), { retryAfter: 0.001 });
      return answer;
    },
  };
  const outbox = module.createOutbox().attach(host as Host);
  return { outbox, steps: () => module.steps() };
}

const ROWS = [1, 2, 3, 4];

/** A tab keeps four changes and sends them, and dies where it is told. Another one, which may be there at the same time, goes on. */
async function live(prefix: string, death?: Death, isBeside = false) {
  const indexedDB = new IDBFactory();
  const kept: number[] = [];
  let steps = 0;
  const first = new Promise<void>((resolve, reject) => {
    const { outbox, steps: count } = openTab(indexedDB, prefix, death && { ...death, onDeath: resolve });
    const work = async () => {
      const handles: QueuedHandle[] = [];
      for (const row of ROWS) {
        handles.push(await outbox.enqueue(prefix + (row % 2), row));
        kept.push(row);
      }
      for (const { done } of handles) await done;
      steps = count();
      outbox.close();
    };
    work().then(resolve, reject);
  });
  if (!isBeside) await first;
  const second = openTab(indexedDB, prefix).outbox;
  await first;
  // Changes of a user are sent one after the other.
  const last = await second.enqueue(`${prefix}last`, 'last');
  await last.done;
  second.close();
  return { kept, steps, seen: await server.inserted(token, prefix) };
}

for (const isBeside of [false, true]) {
  test(`the outbox is killed at every await, ${isBeside ? 'beside another tab' : 'and another tab goes on'}`, async () => {
    const { steps, seen } = await live(`whole/${isBeside}/`);
    expect(seen).toEqual([...ROWS, 'last']);
    expect(steps).toBeGreaterThan(50);
    await atOnce(deathsUpTo(steps), async (death) => {
      const { kept, seen } = await live(`${isBeside}/${death.at}/${death.when}/`, death, isBeside);
      // What was not said to be kept may be there or not. It is the last of this tab.
      const possible = [kept, ROWS.slice(0, kept.length + 1)].map((rows) => [...rows, 'last']);
      expect(possible, `killed ${death.when} await ${death.at}`).toContainEqual(seen);
    });
  }, 600_000);
}
