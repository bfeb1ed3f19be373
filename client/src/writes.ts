// Inserting and removing: each request has an idempotency key, so that it can be repeated until it is answered.

import type { Cache } from './cache.js';
import type { BrokerError } from './errors.js';
import { headersOf, isReceiptOf } from './http.js';
import { pause, randomKey } from './store.js';
import update from './update.js';
import type { Ack, Client, Host, InsertItem, InsertOptions, Overlay, RequestOptions } from './types.js';

/** Waits before the second and third try, in milliseconds. Who has no network is told soon. */
const PAUSES = [300, 1000];

export interface WritesHost extends Pick<Host, 'overlay' | 'connection'> {
  request(path: string, options: RequestOptions): Promise<any>;
  cache: Cache;
  /** The id of the stream of this client, as soon as there is one. */
  stream(): Promise<string | undefined>;
  /** Who asks: whoever signs in meanwhile has not. */
  asker(): RequestOptions;
}

/** The body of an insert, as the server takes it. */
const bodyOf = ({ event, data, expiresIn, transient, whileConnected }: InsertItem) => ({
  event,
  // What cannot be said in JSON is null.
  data: data ?? null,
  expires_in: expiresIn,
  transient,
  while_connected: whileConnected,
});

/** With what several requests of one user share. */
type Options = InsertOptions & { more?: RequestOptions };

/** Inserts. What is one is sent as such, and not as a list. */
export type Writing = (items: readonly InsertItem[], isOne: boolean, options?: Options) => Promise<any>;

export type Writes = Pick<Client, 'insert' | 'insertAll' | 'update' | 'remove'>;

export function createWrites(host: WritesHost): Writes {
  /** Sends the same request until it is answered. */
  async function post(path: string, body: unknown, options: Options, stream?: string): Promise<any> {
    const headers = { ...headersOf({ ...options, key: options.key ?? randomKey() }), 'broker-stream': stream };
    // What is sent again is sent as the same user.
    const more = Object.assign(options.more ?? {}, { body, headers, isWhole: isReceiptOf(body) });
    for (let tries = 0; ; tries++) {
      try {
        return await host.request(path, more);
      } catch (error) {
        const { retryable, status, retryAfter } = error as BrokerError;
        const ms = Math.max(PAUSES[tries] ?? Infinity, retryAfter * 1000);
        if (!retryable || status === 429 || ms > 5000) throw error;
        await pause(ms * (0.5 + Math.random()));
      }
    }
  }

  /** Shows what is asked for until the server has answered, and the stream has it. */
  async function showing<T>(overlays: Overlay[] | false, run: () => Promise<T>): Promise<T> {
    try {
      const answer = await run();
      if (overlays) [answer].flat().forEach((ack, at) => overlays[at]!.accepted((ack as Ack).id));
      return answer;
    } catch (error) {
      if (overlays) for (const overlay of overlays) overlay.refused();
      throw error;
    }
  }

  const insert: Writing = (items, isOne, options = {}) =>
    showing(
      // Each has its own place among the answers; a transient one is never the latest.
      options.optimistic !== false && !items.some((item) => item.transient) && items.map(({ event, data }) => host.overlay(event, data)),
      async () => {
        const bodies = items.map(bodyOf);
        const more = host.asker();
        const stream = items.some((item) => item.whileConnected) ? await host.stream() : undefined;
        return post('/insert', isOne ? bodies[0] : bodies, { more, ...options }, stream);
      },
    );

  return {
    insert: (event, data, options) => insert([{ ...options, event, data }], true, options),
    insertAll: (items, options) => insert(items, false, options),
    remove: (event, options = {}) =>
      showing(options.optimistic !== false && [host.overlay(event, null, true)], () => post('/remove', { event }, options)),
    update: (...options) => update(host, insert, host.asker(), ...options),
  };
}
