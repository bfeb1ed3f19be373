// Which transports there are here, the best first.

import type { TransportName } from '../types.js';
import { openFetch } from './fetch.js';
import type { OpenStream } from './transport.js';

/** Loads a transport where it is needed: most pages never need another one than the first. */
export type LoadTransport = () => Promise<{ default: OpenStream }>;

type Choice = [name: TransportName, constructor: string, load: LoadTransport];

export function chooseTransports(wanted: TransportName | 'auto' = 'auto'): readonly LoadTransport[] {
  const fetch: Choice = ['fetch', 'ReadableStream', async () => ({ default: openFetch })];
  const xhr: Choice = ['xhr', 'XMLHttpRequest', () => import('./xhr.js')];
  const websocket: Choice = ['websocket', 'WebSocket', () => import('./websocket.js')];
  const eventsource: Choice = ['eventsource', 'EventSource', () => import('./eventsource.js')];
  const { userAgent = '', product } = globalThis.navigator ?? {};
  // The `fetch` of WebKit may stall in the middle of a stream; that of React Native does not stream. Elsewhere it is a proxy that holds a
  // stream back, and it would hold that of `XMLHttpRequest` back, too.
  const isFetchLast = product === 'ReactNative' || /AppleWebKit(?!.*Chrom)/.test(userAgent);
  const all = isFetchLast ? [xhr, websocket, eventsource, fetch] : [fetch, websocket, xhr, eventsource];
  return all.flatMap(([name, constructor, load]) => ((wanted === 'auto' ? constructor in globalThis : name === wanted) ? load : []));
}
