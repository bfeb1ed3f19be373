// One request: its time-out, its answer, its refusal.

import { NetworkError, refusal } from './errors.js';
import type { RequestOptions } from './types.js';

/** Seconds of the header `retry-after`. */
export const retryAfter = (headers: { get(name: string): string | null }): number => Number(headers.get('retry-after')) || 0;

/** What a text says in JSON; undefined if it is empty or cut off. */
export function parse(text: string): any {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Sends a request, a POST if it has a body, and gives what the answer says. */
export async function send(
  url: string,
  { body, headers = {}, timeout = 30_000, signal }: RequestOptions,
  /** Is given the headers of the answer, whatever it is. */
  seen?: (headers: Headers) => void,
): Promise<any> {
  const abort = new AbortController();
  let code = 'network';
  const stop = (why: string) => {
    code = why;
    abort.abort();
  };
  const timer = setTimeout(stop, timeout, 'timeout');
  const onAbort = () => stop('aborted');
  signal?.addEventListener('abort', onAbort);
  if (signal?.aborted) onAbort();
  try {
    const reply = await fetch(url, {
      method: body === undefined ? 'GET' : 'POST',
      body: body === undefined ? undefined : JSON.stringify(body),
      headers: Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined)) as Record<string, string>,
      signal: abort.signal,
    });
    seen?.(reply.headers);
    const text = await reply.text();
    if (!reply.ok) throw refusal(reply.status, parse(text), retryAfter(reply.headers));
    if (!text || reply.headers.get('content-type')?.includes('ndjson')) return text;
    const answer = parse(text);
    // A list that ends before its last bracket was cut off.
    if (answer === undefined) code = 'cut_off';
    else return answer;
  } catch (error: any) {
    if (error.status) throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
  throw new NetworkError(code);
}
