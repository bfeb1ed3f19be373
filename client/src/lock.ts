// One at a time over all tabs, where the browser can do that.

/** How long another tab may hold it. */
const PATIENCE = 10_000;

/** Runs it while no other tab does; without locks, or if another tab does not give it back, at once. Never runs it twice. */
export async function locked<T>(name: string, run: () => Promise<T>): Promise<T> {
  let running: Promise<T> | undefined;
  const late = () => AbortSignal.timeout(PATIENCE);
  await globalThis.navigator?.locks
    // The signal ends the waiting, and not what has begun.
    ?.request(name, { signal: late() }, () => {
      running = run();
      // What hangs, as a storage may, goes on, and keeps nobody else from it.
      return Promise.race([running, new Promise((give) => late().addEventListener('abort', give))]);
    })
    .catch(() => {});
  return running ?? run();
}
