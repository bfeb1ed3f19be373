// Which transports there are here, the best first.

import type { TransportName } from '../types.js';
import { openEventSource } from './eventsource.js';
import { openFetch } from './fetch.js';
import type { OpenStream } from './transport.js';
import { openWebSocket } from './websocket.js';
import { openXhr } from './xhr.js';

const ALL: [name: TransportName, constructor: string, open: OpenStream][] = [
  ['fetch', 'ReadableStream', openFetch],
  ['xhr', 'XMLHttpRequest', openXhr],
  ['websocket', 'WebSocket', openWebSocket],
  ['eventsource', 'EventSource', openEventSource],
];

export function chooseTransports(wanted: TransportName | 'auto' = 'auto'): readonly OpenStream[] {
  const there = ALL.filter(([name, constructor]) => (wanted === 'auto' ? constructor in globalThis : name === wanted));
  const agent = globalThis.navigator?.userAgent ?? '';
  // The `fetch` of WebKit may stall in the middle of a stream; that of React Native does not stream.
  const isPoor = /AppleWebKit/.test(agent) && !/Chrom(e|ium)\//.test(agent);
  if (isPoor || globalThis.navigator?.product === 'ReactNative') there.push(...there.splice(0, there[0]?.[0] === 'fetch' ? 1 : 0));
  return there.map(([, , open]) => open);
}
