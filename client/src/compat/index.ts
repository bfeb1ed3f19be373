// The drop-in for `broker-client` 0.0.8: the same surface, without its faults. Pages of Broker 15 go on with it unchanged.
// `{ reconnect: true }` adds what 0.0.8 never did. docs/streams.md lists the differences.
import { bounded } from '../bounded.js';
import { createParser } from '../parser.js';
import { wait } from './wait.js';

/** Heartbeats come every 12 s: so long a silence means that the connection is dead. */
const SILENCE = 30_000;
/** After a sleep the timer is late, and what came meanwhile must be read first. */
const GRACE = 2_000;
/** A connection that lasted so long was a good one. */
const GOOD = 10_000;
const LONGEST_WAIT = 30_000;

/** Why a stream was refused, or was lost. */
export interface StreamError extends Error {
  /** The status of a refusal, such as 401. */
  status?: number;
  /** The code of a refusal, such as `unauthorized`. */
  code?: string;
}

export interface BrokerClientInit extends Omit<RequestInit, 'headers'> {
  /** Asked before each attempt if it is a function, so that it can give a newer token. */
  headers?: HeadersInit | (() => HeadersInit | Promise<HeadersInit>);
  /**
   * Connect again when the stream is lost, and resume where it was: after a random wait, with a watchdog for silence. Only
   * `close()` and a refusal such as 401 end it then. Off by default, as in 0.0.8.
   */
  reconnect?: boolean;
}

type Listener = (event: MessageEvent<string>) => void;

export class BrokerClient {
  static readonly CONNECTING = 0;
  static readonly OPEN = 1;
  static readonly CLOSED = 2;

  /** `CONNECTING`, `OPEN` or `CLOSED`. */
  readState = 0;
  controller = new AbortController();
  reader?: ReadableStreamDefaultReader<Uint8Array>;
  /** By name, so there is one for a name. */
  listeners: Record<string, Listener> = Object.create(null);
  lastEventID?: string;

  /** Called for each read of the stream, as in 0.0.8, before the events that were read. */
  onopen?: ((event: Event) => void) | null;
  /** Called for each event, whose `type` is its name. */
  onmessage?: Listener | null;
  /** Called when the stream was refused or lost. Without it the console tells. */
  onerror?: ((error: StreamError) => void) | null;
  /** Called once, when the stream has ended for good. */
  onclose?: (() => void) | null;

  constructor(url: string | URL, init: BrokerClientInit = {}) {
    const { signal } = init;
    const abort = () => this.controller.abort();
    if (signal?.aborted) abort();
    else signal?.addEventListener('abort', abort);
    void run(this, url, init).then(() => {
      signal?.removeEventListener('abort', abort);
      this.readState = BrokerClient.CLOSED;
      call(this, this.onclose);
    });
  }

  close(): void {
    this.controller.abort();
  }

  /** A second listener for a name replaces the first. */
  addEventListener(name: string, listener: Listener): void {
    this.listeners[name] = listener;
  }

  removeEventListener(name: string): void {
    delete this.listeners[name];
  }
}

export default BrokerClient;

/** Calls what a page has set. What it throws is reported as other errors of the page are, and ends no stream. */
function call<T extends unknown[]>(client: BrokerClient, f: ((...args: T) => void) | null | undefined, ...args: T) {
  try {
    f?.apply(client, args);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

async function run(client: BrokerClient, url: string | URL, init: BrokerClientInit): Promise<void> {
  const { signal } = client.controller;
  const memory: Memory = {};
  let tries = 0;
  for (;;) {
    const began = performance.now();
    const error = await attempt(client, url, init, memory);
    if (signal.aborted) return;
    const { status = 0, code } = error ?? {};
    // Broker's refusals have a code. One of a proxy or a captive portal does not last.
    const isRefused = code !== undefined && status >= 400 && status < 500 && status !== 408 && status !== 429;
    if (init.reconnect && !isRefused) client.readState = BrokerClient.CONNECTING;
    if (error) {
      if (client.onerror) call(client, client.onerror, error);
      else console.error(error);
    }
    if (!init.reconnect || isRefused || signal.aborted) return;
    if (performance.now() - began > GOOD) tries = 0;
    await wait(Math.max(memory.retryAfter ?? 0, Math.random() * Math.min(LONGEST_WAIT, 1000 * 2 ** tries++)), signal);
  }
}

/** What one attempt leaves to the next. */
interface Memory {
  stream?: string | null;
  retryAfter?: number;
}

/** Opens the stream, and reads it until it ends. Gives why, unless it ended in order. */
async function attempt(client: BrokerClient, url: string | URL, init: BrokerClientInit, memory: Memory) {
  const { headers, reconnect, ...rest } = init;
  // One for each attempt, so that the end of one never meets another.
  const own = new AbortController();
  const abort = (reason?: Error) => own.abort(reason);
  let isPutAside = false;
  const putAside = () => {
    isPutAside = true;
    abort();
  };
  const ends = client.controller.signal;
  if (ends.aborted) return undefined;
  const close = () => abort();
  ends.addEventListener('abort', close);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const watch = () => {
    if (!reconnect) return;
    clearTimeout(timer);
    const armed = performance.now();
    timer = setTimeout(() => {
      const isLate = performance.now() - armed > SILENCE + GRACE;
      timer = setTimeout(() => abort(failure('the connection was silent')), isLate ? GRACE : 0);
    }, SILENCE);
  };
  // A page with an open connection is not kept for the button "back".
  if (reconnect) globalThis.addEventListener?.('pagehide', putAside);
  try {
    watch();
    const sent = new Headers(typeof headers === 'function' ? await headers() : headers);
    if (reconnect && client.lastEventID) sent.set('last-event-id', client.lastEventID);
    if (reconnect && memory.stream) sent.set('broker-stream', memory.stream);
    const response = await fetch(url, { ...rest, headers: sent, signal: own.signal });
    memory.retryAfter = bounded(response.headers.get('retry-after')) * 1000;
    if (!response.ok || !response.body) {
      const answer = (await response.json().catch(() => undefined)) ?? {};
      return failure(answer.error ?? `status ${response.status}`, response.status, answer.code);
    }
    memory.stream = response.headers.get('broker-stream');
    const reader = (client.reader = response.body.getReader());
    const decoder = new TextDecoder();
    const push = createParser((name, data, id) => !ends.aborted && dispatch(client, name, data, id));
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return reconnect ? failure('the stream ended') : undefined;
      watch();
      client.readState = BrokerClient.OPEN;
      call(client, client.onopen, new Event('open'));
      push(decoder.decode(value, { stream: true }));
    }
  } catch (error) {
    return isPutAside ? undefined : (error as StreamError);
  } finally {
    clearTimeout(timer);
    ends.removeEventListener('abort', close);
    if (reconnect) globalThis.removeEventListener?.('pagehide', putAside);
    abort();
  }
}

const failure = (message: string, status?: number, code?: string): StreamError =>
  Object.assign(new Error(message), { status, code });

function dispatch(client: BrokerClient, name: string, data: string, id: string): void {
  if (id) client.lastEventID = id;
  const message = new MessageEvent(name, { data, lastEventId: client.lastEventID ?? '' });
  call(client, client.onmessage, message);
  call(client, client.listeners[name], message);
}
