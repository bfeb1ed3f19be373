// What the pages of the tests have: the package, and what a test can see of it.
import { createClient } from '../../src/index.js';
import { createCache, createOutbox } from '../../src/outbox/index.js';
import type { Change, Client, ClientOptions } from '../../src/types.js';

/** How many streams this page reads now. One that leads reads one. */
let streams = 0;
const requests: string[] = [];
const fetchFirst = globalThis.fetch;
globalThis.fetch = async (input, init) => {
  const { pathname } = new URL(String(input));
  requests.push(pathname);
  if (pathname !== '/sse') return fetchFirst(input, init);
  const reply = await fetchFirst(input, init);
  if (!reply.ok) return reply;
  streams++;
  init?.signal?.addEventListener('abort', () => streams--, { once: true });
  return reply;
};

let client: Client;
/** Each event that a listener was told, and when. */
const heard: { event: string; data: unknown; id: string; at: number }[] = [];

const broker = {
  requests,
  heard,
  get client() {
    return client;
  },
  get isReading() {
    return streams > 0;
  },
  create(options: ClientOptions & { isKept?: boolean }) {
    const plugins = options.isKept ? { outbox: createOutbox(), cache: createCache() } : {};
    client = createClient({ transport: 'fetch', ...options, ...plugins });
    return client;
  },
  /** Listens, and writes down what it hears. */
  listen(filter: `${string}*`) {
    client.on(filter, ({ event, data, id }: Change) => heard.push({ event, data, id, at: Date.now() }));
  },
  /** Keeps a store alive, as something that shows it does, with everything it has shown. */
  watch(filter: `${string}*`) {
    const store = client.all(filter);
    const seen: string[] = [];
    const look = () => seen.push(JSON.stringify(store.get().map(({ event, data, pending }) => [event, data, !!pending])));
    store.subscribe(look);
    look();
    return (shown[filter] = seen);
  },
};
const shown: Record<string, string[]> = {};

export type PageBroker = typeof broker & { shown: typeof shown };
declare global {
  interface Window {
    broker: PageBroker;
  }
}
window.broker = Object.assign(broker, { shown });
