// A stream by `XMLHttpRequest`: where `fetch` does not stream (React Native) or stalls (Safari).

import { bearer, refused } from '../http.js';
import { broken, readFrames, reading, sseUrl, type OpenStream } from './transport.js';

/** It keeps the whole text. When it is so long, another one should go on. */
const MAX_TEXT = 1024 * 1024;

const openXhr: OpenStream = (request, on) => {
  const xhr = new XMLHttpRequest();
  const read = readFrames(on.frame);
  let at = 0;
  let isOpen = false;
  let isOver = false;
  const end = (error: ReturnType<typeof broken>) => {
    if (isOver) return;
    isOver = true;
    on.end(error);
    xhr.abort();
  };
  const look = () => {
    if (isOver || xhr.readyState < 2) return;
    const { status, responseText: text } = xhr;
    if (status !== 200) {
      if (xhr.readyState === 4) {
        end(status ? refused(status, text, xhr.getResponseHeader('retry-after')) : broken());
      }
      return;
    }
    if (!isOpen) {
      isOpen = true;
      on.open(xhr.getResponseHeader('broker-stream') ?? undefined);
    }
    if (text.length > at) {
      on.life();
      const chunk = text.slice(at);
      at = text.length;
      reading(() => read(chunk), end);
    }
    if (xhr.readyState === 4) end(broken());
    else if (at > MAX_TEXT && !isOver) on.end(undefined);
  };
  xhr.open('GET', sseUrl(request));
  xhr.setRequestHeader('authorization', bearer(request.token).authorization);
  // React Native hands out parts only to those who listen to progress.
  xhr.onprogress = xhr.onreadystatechange = look;
  xhr.onerror = xhr.ontimeout = () => end(broken());
  xhr.send();
  return () => {
    isOver = true;
    xhr.abort();
  };
};

export default openXhr;
