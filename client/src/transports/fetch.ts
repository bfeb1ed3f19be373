// A stream by `fetch`, where it hands out a body as it comes.

import { bearer, refused } from '../http.js';
import { broken, noStream, readFrames, sseUrl, type OpenStream } from './transport.js';

export const openFetch: OpenStream = (request, on) => {
  const abort = new AbortController();
  const run = async () => {
    const reply = await fetch(sseUrl(request), {
      headers: bearer(request.token),
      cache: 'no-store',
      signal: abort.signal,
    });
    if (!reply.ok) return refused(reply.status, await reply.text(), reply.headers.get('retry-after'));
    const reader = reply.body?.getReader?.();
    if (!reader) return noStream();
    on.open(reply.headers.get('broker-stream') ?? undefined);
    const decoder = new TextDecoder();
    const read = readFrames(on.frame);
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return broken();
      on.life();
      read(decoder.decode(value, { stream: true }));
    }
  };
  run()
    .catch(broken)
    .then((error) => {
      on.end(error);
      abort.abort();
    });
  return () => abort.abort();
};
