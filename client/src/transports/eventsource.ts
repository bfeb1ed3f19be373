// A stream by the browser's own `EventSource`, which cannot send a header: a ticket signs it in.

import { BrokerError } from '../errors.js';
import { bearer, send } from '../http.js';
import { broken, noStream, reading, sseUrl, type OpenStream } from './transport.js';

const openEventSource: OpenStream = (request, on) => {
  let source: EventSource | undefined;
  let isOver = false;
  const end = (error: ReturnType<typeof broken>) => {
    if (isOver) return;
    close();
    on.end(error);
  };
  const close = () => {
    isOver = true;
    source?.close();
  };
  const run = async () => {
    const { ticket } = await send(`${request.url}/sse_ticket`, { body: {}, headers: bearer(request.token) });
    if (isOver) return;
    source = new EventSource(sseUrl(request, { frames: 'true', ticket }));
    source.onmessage = ({ data }) => {
      on.life();
      reading(() => {
        const frame = JSON.parse(data);
        if (frame.ok) on.open(frame.ok.stream);
        else if (frame.event) on.frame(frame);
      }, end);
    };
    // It would come back by itself with a ticket that is used up.
    source.onerror = () => end(broken());
  };
  run().catch((error) => end(error instanceof BrokerError ? error : noStream()));
  return close;
};

export default openEventSource;
