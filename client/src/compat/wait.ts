/** Waits for some milliseconds, or until the signal aborts, or something says that the network may be there again. */
export function wait(ms: number, signal: AbortSignal): Promise<void> {
  const wakers = ['online', 'pageshow', 'visibilitychange'];
  const page = globalThis as Partial<Window & typeof globalThis>;
  return new Promise((resolve) => {
    const done = () => {
      if (page.document?.hidden && !signal.aborted && performance.now() < end) return;
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      for (const name of wakers) {
        page.removeEventListener?.(name, done);
        page.document?.removeEventListener(name, done);
      }
      resolve();
    };
    const end = performance.now() + ms - 1;
    const timer = setTimeout(done, ms);
    if (signal.aborted) return done();
    signal.addEventListener('abort', done);
    for (const name of wakers) {
      page.addEventListener?.(name, done);
      page.document?.addEventListener(name, done);
    }
  });
}
