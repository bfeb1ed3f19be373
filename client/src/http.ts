// One request: its time-out, its answer, its refusal.

import { BrokerError, NetworkError, refusal } from './errors.js';
import type { RequestOptions } from './types.js';

/** What a text says in JSON; undefined if it is empty or cut off. */
export function parse(text: string | null | undefined): any {
  try {
    return JSON.parse(text!);
  } catch {
    return;
  }
}

/** The error that a refused request stands for. */
export const refused = (status: number, text: string, retryAfter: string | null): BrokerError =>
  refusal(status, parse(text), Number(retryAfter) || 0);

/** Names as the server writes them: `expiresIn` is `expires_in`. */
export const snake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** The same for the fields of a body. */
export const fields = (object: object = {}): any => Object.fromEntries(Object.entries(object).map(([name, value]) => [snake(name), value]));

/** A query of those that are there. */
export const query = (object: Record<string, string | number | undefined>): string =>
  Object.entries(object)
    .flatMap(([name, value]) => (value === undefined ? [] : `${name}=${encodeURIComponent(value)}`))
    .join('&');

export const bearer = (token: string): { authorization: string } => ({ authorization: `Bearer ${token}` });

/** Sends a request, a POST if it has a body, and gives what the answer says. */
export async function send(url: string, { body, headers = {}, timeout = 30_000, seen }: RequestOptions): Promise<any> {
  const abort = new AbortController();
  let code = 'network';
  const timer = setTimeout(() => {
    code = 'timeout';
    abort.abort();
  }, timeout);
  try {
    const reply = await fetch(url, {
      ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
      headers: JSON.parse(JSON.stringify(headers)),
      signal: abort.signal,
    });
    seen?.(reply.headers);
    const text = await reply.text();
    if (!reply.ok) throw refused(reply.status, text, reply.headers.get('retry-after'));
    if (!text || reply.headers.get('content-type')?.includes('ndjson')) return text;
    const answer = parse(text);
    if (answer !== undefined) return answer;
    // A list that ends before its last bracket was cut off.
    code = 'cut_off';
  } catch (error) {
    if (error instanceof BrokerError) throw error;
  } finally {
    clearTimeout(timer);
  }
  throw new NetworkError(code);
}
