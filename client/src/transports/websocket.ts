// A stream by a WebSocket with the subprotocol `broker.v1`: past proxies that hold back streams, and the limit of six connections.

import { refusal, type BrokerError } from '../errors.js';
import { broken, reading, type OpenStream } from './transport.js';

/** What a code of a close says for which there was no frame. */
const CODES: Record<number, string> = { 4401: 'unauthorized', 4409: 'limit', 4410: 'replaced' };

const openWebSocket: OpenStream = ({ url, token, events, presence, after, stream }, on) => {
  const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/ws`, 'broker.v1');
  let refused: any;
  let isOver = false;
  // The close follows, and tells more.
  socket.onerror = () => {};
  socket.onopen = () => {
    const fields = { do: 'sign_in', ref: 1, token, events, marks: true, presence, after, stream };
    socket.send(JSON.stringify(fields));
  };
  const end = (error: BrokerError) => {
    if (isOver) return;
    isOver = true;
    on.end(error);
  };
  socket.onmessage = ({ data }) => {
    if (isOver) return;
    on.life();
    reading(() => {
      const frame = JSON.parse(data);
      if (frame.ok) on.open(frame.ok.stream);
      else if (frame.error) refused = frame;
      else if (frame.event) on.frame(frame);
    }, (error) => {
      end(error);
      socket.close();
    });
  };
  socket.onclose = ({ code }) => {
    // The code tells whether to come back: with another token, after a correction, or later.
    const status = code === 4401 ? 401 : [1002, 1003, 1007, 1009, 4400, 4409].includes(code) ? 400 : 503;
    const why = refused ?? ((CODES[code] || status < 500) && { code: CODES[code] ?? 'protocol' });
    end(why ? refusal(status, why, why.retry_after) : broken());
  };
  return () => {
    isOver = true;
    socket.close(1000);
  };
};

export default openWebSocket;
