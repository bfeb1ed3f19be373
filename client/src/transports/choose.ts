// Which transports there are here, the best first.

import type { TransportName } from '../types.js';
import { openFetch } from './fetch.js';
import type { OpenStream } from './transport.js';

/** Loads a transport where it is needed: most pages never need another one than the first. */
export type LoadTransport = () => Promise<{ default: OpenStream }>;

export function chooseTransports(wanted: TransportName | 'auto' = 'auto'): readonly LoadTransport[] {
  const all: [name: TransportName, constructor: string, load: LoadTransport][] = [
    ['fetch', 'ReadableStream', async () => ({ default: openFetch })],
    ['xhr', 'XMLHttpRequest', () => import('./xhr.js')],
    ['websocket', 'WebSocket', () => import('./websocket.js')],
    ['eventsource', 'EventSource', () => import('./eventsource.js')],
  ];
  const { userAgent = '', product } = globalThis.navigator ?? {};
  // The `fetch` of WebKit may stall in the middle of a stream; that of React Native does not stream.
  if (product === 'ReactNative' || /AppleWebKit(?!.*Chrom)/.test(userAgent)) all.push(all.shift()!);
  return all.flatMap(([name, constructor, load]) => ((wanted === 'auto' ? constructor in globalThis : name === wanted) ? load : []));
}
