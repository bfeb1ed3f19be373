// Which transports a client tries, and in which order: what stalls or does not stream somewhere is not the first there.

import { afterEach, expect, test, vi } from 'vitest';
import { chooseTransports } from '../src/transports/choose.js';
import openEventSource from '../src/transports/eventsource.js';
import { openFetch } from '../src/transports/fetch.js';
import openWebSocket from '../src/transports/websocket.js';
import openXhr from '../src/transports/xhr.js';

afterEach(() => vi.unstubAllGlobals());

const NAMES = new Map<unknown, string>([
  [openFetch, 'fetch'],
  [openXhr, 'xhr'],
  [openWebSocket, 'websocket'],
  [openEventSource, 'eventsource'],
]);
const CONSTRUCTORS = ['ReadableStream', 'XMLHttpRequest', 'WebSocket', 'EventSource'];

async function chosen(navigator: object | undefined, lacks: readonly string[] = [], wanted?: Parameters<typeof chooseTransports>[0]) {
  vi.stubGlobal('navigator', navigator);
  for (const name of CONSTRUCTORS) {
    vi.stubGlobal(name, class {});
    if (lacks.includes(name)) Reflect.deleteProperty(globalThis, name);
  }
  const found = await Promise.all(chooseTransports(wanted).map((load) => load()));
  return found.map((transport) => NAMES.get(transport.default)).join(' ');
}

const FETCH_FIRST = 'fetch websocket xhr eventsource';
const FETCH_LAST = 'xhr websocket eventsource fetch';

test.each([
  ['Chrome', FETCH_FIRST, 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36'],
  ['Chrome without a window', FETCH_FIRST, 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/143.0.0.0 Safari/537.36'],
  ['Chromium', FETCH_FIRST, 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Ubuntu Chromium/143.0.0.0 Chrome/143.0.0.0 Safari/537.36'],
  ['Edge', FETCH_FIRST, 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36 Edg/143.0.0.0'],
  ['a web view of Android', FETCH_FIRST, 'Mozilla/5.0 (Linux; Android 16; Pixel 9; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/143.0.0.0 Mobile Safari/537.36'],
  ['Firefox', FETCH_FIRST, 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0'],
  ['Safari', FETCH_LAST, 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.4 Safari/605.1.15'],
  ['Safari on iOS', FETCH_LAST, 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.4 Mobile/15E148 Safari/604.1'],
  ['Chrome on iOS, which is WebKit', FETCH_LAST, 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/143.0.0.0 Mobile/15E148 Safari/604.1'],
  ['Firefox on iOS, which is WebKit', FETCH_LAST, 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/140.0 Mobile/15E148 Safari/605.1.15'],
  ['a web view of iOS', FETCH_LAST, 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148'],
  ['WebKitGTK', FETCH_LAST, 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15'],
  ['Node 22', FETCH_FIRST, 'Node.js/22'],
])('%s: %s', async (_, expected, userAgent) => {
  expect(await chosen({ userAgent })).toBe(expected);
});

test('React Native begins with what streams there', async () => {
  expect(await chosen({ product: 'ReactNative' }, ['ReadableStream', 'EventSource'])).toBe('xhr websocket');
  // Expo has a `fetch` that streams.
  expect(await chosen({ product: 'ReactNative' }, ['EventSource'])).toBe('xhr websocket fetch');
});

test('what is not there is not chosen by itself', async () => {
  expect(await chosen(undefined, ['XMLHttpRequest', 'WebSocket', 'EventSource'])).toBe('fetch');
  expect(await chosen(undefined, ['ReadableStream'])).toBe('websocket xhr eventsource');
});

test('who names a transport gets this one alone', async () => {
  for (const name of ['fetch', 'xhr', 'websocket', 'eventsource'] as const) expect(await chosen(undefined, CONSTRUCTORS, name)).toBe(name);
});
