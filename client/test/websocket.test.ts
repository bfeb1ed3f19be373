// What a page makes of the end of a WebSocket, if nothing was said before it.

import { afterEach, expect, test, vi } from 'vitest';
import type { BrokerError } from '../src/errors.js';
import openWebSocket from '../src/transports/websocket.js';

afterEach(() => vi.unstubAllGlobals());

test.each([
  [4401, 'AuthError', 'unauthorized', false],
  [4409, 'BrokerError', 'limit', false],
  [4410, 'ServerError', 'replaced', true],
  [4400, 'BrokerError', 'protocol', false],
  [1006, 'NetworkError', 'stream_broken', true],
  [1012, 'NetworkError', 'stream_broken', true],
])('closed with %i: %s %s', (code, name, reason, retryable) => {
  let socket!: WebSocket;
  vi.stubGlobal('WebSocket', function (this: WebSocket) {
    socket = Object.assign(this, { close() {} });
  });
  const end = vi.fn<(error: BrokerError | undefined) => void>();
  const request = { url: 'http://server', token: 'token', events: 'x', presence: false };
  openWebSocket(request, { open() {}, life() {}, frame() {}, end });
  socket.onclose!({ code } as CloseEvent);
  socket.onclose!({ code } as CloseEvent);
  expect(end).toHaveBeenCalledTimes(1);
  expect(end.mock.calls[0]![0]).toMatchObject({ name, code: reason, retryable });
});
