// One at a time over all tabs, where the browser can do that.

/** How long another tab may hold it. */
const PATIENCE = 10_000;

/** Runs it while no other tab does; without locks, or if another tab does not give it back, at once. Never runs it twice. */
export async function locked<T>(name: string, run: () => Promise<T>): Promise<T> {
  const locks = globalThis.navigator?.locks;
  if (!locks) return run();
  let running: Promise<T> | undefined;
  // The signal ends the waiting, and not what has begun.
  return locks
    .request(name, { signal: AbortSignal.timeout(PATIENCE) }, () => (running = run()))
    .catch(() => running ?? run());
}
