// A stream by a WebSocket with the subprotocol `broker.v1`: past proxies that hold back streams, and the limit of six connections.

import { BrokerError, refusal } from '../errors.js';
import { broken, type OpenStream } from './transport.js';

/** Close codes after which the same would happen again. */
const HOPELESS: Record<number, string> = { 1002: 'protocol', 1003: 'protocol', 1007: 'protocol', 1009: 'protocol', 4400: 'protocol', 4409: 'limit' };

export const openWebSocket: OpenStream = ({ url, token, events, presence, after, stream }, on) => {
  const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/ws`, 'broker.v1');
  let refused: BrokerError | undefined;
  let isOver = false;
  // The close follows, and tells more.
  socket.onerror = () => {};
  socket.onopen = () => {
    const fields = { do: 'sign_in', ref: 1, token, events, marks: true, presence, after, stream };
    socket.send(JSON.stringify(fields));
  };
  socket.onmessage = ({ data }) => {
    if (isOver) return;
    on.life();
    const frame = JSON.parse(data);
    if (frame.ok) on.open(frame.ok.stream);
    else if (frame.error) refused = refusal(statusOf(frame.code), frame, frame.retry_after);
    else if (frame.event) on.frame(frame);
  };
  socket.onclose = ({ code }) => {
    if (isOver) return;
    isOver = true;
    const hopeless = HOPELESS[code];
    if (code === 4401) on.end(refused?.status === 401 ? refused : refusal(401, undefined));
    else on.end(refused ?? (hopeless ? new BrokerError(hopeless, `the server closed with ${code}`, 400) : broken()));
  };
  return () => {
    isOver = true;
    socket.close(1000);
  };
};

/** A frame has no status: what kind of refusal it is. */
const statusOf = (code: string): number =>
  code === 'unauthorized' ? 401 : /^too_many|_rate_/.test(code) ? 429 : /overloaded|shutting|storage|internal/.test(code) ? 503 : 400;
