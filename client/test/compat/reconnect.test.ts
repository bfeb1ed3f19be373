// Guards `{ reconnect: true }` of the drop-in: it comes back where it was, after a wait, and stops when it is refused.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { BrokerClient, type BrokerClientInit, type StreamError } from '../../src/compat/index.js';

/** One attempt of the client: what it asked for, and the answer that the test gives. */
class Attempt {
  body?: ReadableStreamDefaultController<Uint8Array>;
  constructor(
    readonly headers: Headers,
    readonly signal: AbortSignal,
    readonly answer: (response: Response | Error) => void,
  ) {}

  open(headers: Record<string, string> = {}) {
    const body = new ReadableStream<Uint8Array>({ start: (controller) => void (this.body = controller) });
    this.signal.addEventListener('abort', () => this.body?.error(new Error('aborted')));
    this.answer(new Response(body, { headers }));
  }

  send(text: string) {
    this.body?.enqueue(new TextEncoder().encode(text));
  }
}

let attempts: Attempt[];
let client: BrokerClient;
const seen: string[] = [];
const errors: StreamError[] = [];

function start(init: BrokerClientInit = {}) {
  client = new BrokerClient('http://server/sse', { reconnect: true, ...init });
  client.onmessage = ({ type, data }) => seen.push(`${type} ${data}`);
  client.onerror = (error) => errors.push(error);
  client.onclose = () => seen.push('closed');
}

const settle = () => vi.advanceTimersByTimeAsync(0);
const last = () => attempts.at(-1) as Attempt;

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, 'random').mockReturnValue(0.5);
  attempts = [];
  seen.length = 0;
  errors.length = 0;
  vi.stubGlobal('fetch', (_: string, init: RequestInit & { headers: Headers; signal: AbortSignal }) => {
    return new Promise((resolve, reject) => {
      const answer = (response: Response | Error) => (response instanceof Error ? reject(response) : resolve(response));
      init.signal.addEventListener('abort', () => reject(new Error('aborted')));
      attempts.push(new Attempt(init.headers, init.signal, answer));
    });
  });
});

afterEach(async () => {
  client.close();
  await settle();
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

describe('a drop-in that reconnects', () => {
  it('resumes after the last id, with the id of its stream', async () => {
    start({ headers: { authorization: 'Bearer token' } });
    await settle();
    last().open({ 'broker-stream': 'c4429f81d667fdad' });
    await settle();
    last().send('event:a\nid:7\ndata:1\n\n');
    await settle();
    last().body?.close();
    await settle();
    expect(client.readState).toBe(BrokerClient.CONNECTING);
    expect(attempts).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(500);
    expect(attempts).toHaveLength(2);
    expect(Object.fromEntries(last().headers)).toEqual({
      authorization: 'Bearer token',
      'last-event-id': '7',
      'broker-stream': 'c4429f81d667fdad',
    });
    last().open();
    await settle();
    last().send('event:a\nid:8\ndata:2\n\n');
    await settle();
    expect(seen).toEqual(['a 1', 'a 2']);
    expect(errors.map(({ message }) => message)).toEqual(['the stream ended']);
  });

  it('waits longer after each failure, and begins anew after a good connection', async () => {
    start();
    const waits: number[] = [];
    for (let n = 0; n < 8; n += 1) {
      await settle();
      const before = performance.now();
      const count = attempts.length;
      last().answer(new Error('unreachable'));
      while (attempts.length === count) await vi.advanceTimersByTimeAsync(100);
      waits.push(performance.now() - before);
    }
    expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
    last().open();
    await vi.advanceTimersByTimeAsync(11_000);
    last().body?.close();
    await settle();
    const count = attempts.length;
    await vi.advanceTimersByTimeAsync(499);
    expect(attempts).toHaveLength(count);
    await vi.advanceTimersByTimeAsync(1);
    expect(attempts).toHaveLength(count + 1);
  });

  it('gives up when it is refused, and says why', async () => {
    start();
    await settle();
    last().answer(new Response('{"error":"no","code":"unauthorized"}', { status: 401 }));
    await settle();
    expect(errors).toMatchObject([{ message: 'no', status: 401, code: 'unauthorized' }]);
    expect(seen).toEqual(['closed']);
    expect(client.readState).toBe(BrokerClient.CLOSED);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(attempts).toHaveLength(1);
  });

  it('waits as long as a busy server asks', async () => {
    start();
    await settle();
    last().answer(new Response('{}', { status: 429, headers: { 'retry-after': '20' } }));
    await vi.advanceTimersByTimeAsync(19_999);
    expect(attempts).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(attempts).toHaveLength(2);
  });

  it('takes a silence of 30 seconds for a dead connection, and a heartbeat for life', async () => {
    start();
    await settle();
    last().open();
    for (let n = 0; n < 5; n += 1) {
      await vi.advanceTimersByTimeAsync(20_000);
      last().send(':\n');
    }
    expect(attempts).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(29_999);
    expect(last().signal.aborted).toBe(false);
    await vi.advanceTimersByTimeAsync(5);
    expect(last().signal.aborted).toBe(true);
    await vi.advanceTimersByTimeAsync(500);
    expect(attempts).toHaveLength(2);
  });

  it('reads first what came while the machine slept', async () => {
    start();
    await settle();
    last().open();
    await settle();
    // The timer fires late, and what has arrived is read in the next turn.
    const now = performance.now.bind(performance);
    vi.spyOn(performance, 'now').mockImplementation(() => now() + 600_000);
    await vi.advanceTimersByTimeAsync(30_000);
    expect(last().signal.aborted).toBe(false);
    last().send('event:a\nid:1\ndata:1\n\n');
    await vi.advanceTimersByTimeAsync(10_000);
    expect(last().signal.aborted).toBe(false);
    expect(seen).toEqual(['a 1']);
  });

  it('tries at once when the network is back', async () => {
    const page = new EventTarget();
    vi.stubGlobal('addEventListener', page.addEventListener.bind(page));
    vi.stubGlobal('removeEventListener', page.removeEventListener.bind(page));
    start();
    for (let n = 0; n < 6; n += 1) {
      await settle();
      last().answer(new Error('unreachable'));
      await settle();
      page.dispatchEvent(new Event('online'));
      await settle();
      expect(attempts).toHaveLength(n + 2);
    }
  });

  it('gives its connection back when the page is put aside, and opens another one when it is shown again', async () => {
    const page = new EventTarget();
    vi.stubGlobal('addEventListener', page.addEventListener.bind(page));
    vi.stubGlobal('removeEventListener', page.removeEventListener.bind(page));
    start();
    await settle();
    last().open();
    await settle();
    page.dispatchEvent(new Event('pagehide'));
    await settle();
    expect(last().signal.aborted).toBe(true);
    page.dispatchEvent(new Event('pageshow'));
    await settle();
    expect(attempts).toHaveLength(2);
  });

  it('asks for headers at each attempt, so that a token can be renewed', async () => {
    let token = 1;
    start({ headers: async () => ({ authorization: `Bearer ${token++}` }) });
    await settle();
    last().answer(new Error('unreachable'));
    await vi.advanceTimersByTimeAsync(500);
    expect(attempts.map(({ headers }) => headers.get('authorization'))).toEqual(['Bearer 1', 'Bearer 2']);
  });

  it('ends by close() while it waits, and by an aborted signal', async () => {
    start();
    await settle();
    last().answer(new Error('unreachable'));
    await settle();
    client.close();
    await settle();
    expect(seen).toEqual(['closed']);
    const own = new AbortController();
    start({ signal: own.signal });
    await settle();
    last().open();
    await settle();
    own.abort();
    await settle();
    expect(seen).toEqual(['closed', 'closed']);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(attempts).toHaveLength(2);
  });
});
