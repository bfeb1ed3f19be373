// One request: its time-out, its answer, its refusal.

import { BrokerError, NetworkError, refusal } from './errors.js';
import type { InsertOptions, RequestOptions } from './types.js';

/** What a text says in JSON; undefined if it is empty or cut off. */
export function parse(text: string | null | undefined): any {
  try {
    return JSON.parse(text!);
  } catch {
    return;
  }
}

/** The error that a refused request stands for. */
export const refused = (status: number, text: string, retryAfter: string | null): BrokerError => refusal(status, parse(text), retryAfter);

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

/** The key and the conditions of an insert or a removal, as headers. */
export const headersOf = ({ key, ifMatch, ifNoneMatch }: InsertOptions) => ({
  'idempotency-key': key,
  'if-match': ifMatch,
  'if-none-match': ifNoneMatch ? '*' : undefined,
});

/** Whether an answer says that a request was carried out: for each insert of an array it has an id. */
export const isReceiptOf = (body: unknown) => (answer: any) => [body].flat().every((_, at) => [answer].flat()[at]?.id);

/** Sends a request, a POST if it has a body, and gives what the answer says. */
export async function send(url: string, { body, headers = {}, timeout = 30_000, seen, isText, isWhole = () => true }: RequestOptions): Promise<any> {
  const abort = new AbortController();
  // What cannot be sent at all is a mistake of the caller, and not one of the network.
  const init = {
    ...(body !== undefined && { method: 'POST', body: JSON.stringify(body), redirect: 'error' as const }),
    headers: JSON.parse(JSON.stringify(headers)),
    signal: abort.signal,
  };
  let code = 'network';
  // A page that has slept may find its time over, and the answer there: it is given a moment to read it.
  let timer = setTimeout(() => {
    timer = setTimeout(() => {
      code = 'timeout';
      abort.abort();
    }, 500);
  }, timeout);
  try {
    const reply = await fetch(url, init);
    const text = await reply.text();
    if (!reply.ok) throw refused(reply.status, text, reply.headers.get('retry-after'));
    const answer = !text || isText ? text : parse(text);
    if (answer != null && isWhole(answer)) {
      seen?.(reply.headers);
      return answer;
    }
    // A list that ends before its last bracket was cut off; and a proxy or a captive portal may have answered in the place of Broker.
    code = 'cut_off';
  } catch (error) {
    if (error instanceof BrokerError) throw error;
  } finally {
    clearTimeout(timer);
  }
  throw new NetworkError(code);
}
