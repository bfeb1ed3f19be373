// One at a time over all tabs, where the browser can do that.

/**
 * How long a tab waits for it, and holds it: shorter than the 10 s for which the server knows the refresh token that the tab before has
 * used, so that whoever goes on without it gets a token all the same.
 */
const PATIENCE = 7000;

/**
 * Runs it while no other tab does; without locks, or if another tab does not give it back, at once. Never runs it twice. It is told
 * whether another tab had the lock until now.
 */
export async function locked<T>(name: string, run: (hasWaited?: boolean) => Promise<T>): Promise<T> {
  const locks = globalThis.navigator?.locks;
  // React Native has neither locks nor `AbortSignal.timeout`.
  if (!locks) return run();
  let running: Promise<T> | undefined;
  const late = () => AbortSignal.timeout(PATIENCE);
  const take = (options: LockOptions) =>
    locks
      .request(name, options, (lock) => {
        if (!lock) return;
        running = run(!options.ifAvailable);
        // What hangs, as a storage may, goes on, and keeps nobody else from it.
        return Promise.race([running, new Promise((give) => late().addEventListener('abort', give))]);
      })
      .catch(() => {});
  await take({ ifAvailable: true });
  // The signal ends the waiting, and not what has begun.
  if (!running) await take({ signal: late() });
  return running ?? run();
}
