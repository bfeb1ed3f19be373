// Which transports there are here, the best first.

import type { Stop, TransportName } from '../types.js';
import { openFetch } from './fetch.js';
import { noStream, type OpenStream } from './transport.js';

/** Loads a transport where it is needed: most pages never do. One that cannot be loaded is like one that does not work. */
const later =
  (load: () => Promise<{ default: OpenStream }>): OpenStream =>
  (request, on) => {
    let stop: Stop | undefined;
    let isOver = false;
    load().then(
      (module) => isOver || (stop = module.default(request, on)),
      () => isOver || on.end(noStream()),
    );
    return () => {
      isOver = true;
      stop?.();
    };
  };

/** Made in a function, so that a bundle without it takes no transport along. */
const all = (): [name: TransportName, constructor: string, open: OpenStream][] => [
  ['fetch', 'ReadableStream', openFetch],
  ['xhr', 'XMLHttpRequest', later(() => import('./xhr.js'))],
  ['websocket', 'WebSocket', later(() => import('./websocket.js'))],
  ['eventsource', 'EventSource', later(() => import('./eventsource.js'))],
];

export function chooseTransports(wanted: TransportName | 'auto' = 'auto'): readonly OpenStream[] {
  const { userAgent = '', product } = globalThis.navigator ?? {};
  // The `fetch` of WebKit may stall in the middle of a stream; that of React Native does not stream.
  const isPoor = product === 'ReactNative' || /AppleWebKit(?!.*Chrom)/.test(userAgent);
  const there = all();
  if (isPoor) there.push(there.shift()!);
  return there
    .filter(([name, constructor]) => (wanted === 'auto' ? constructor in globalThis : name === wanted))
    .map(([, , open]) => open);
}
