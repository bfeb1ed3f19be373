// One at a time over all tabs, where the browser can do that.

/** How long another tab may hold it. */
const PATIENCE = 10_000;

/** Runs it while no other tab does; without locks, or if another tab does not give it back, at once. Never runs it twice. */
export async function locked<T>(name: string, run: () => Promise<T>): Promise<T> {
  const locks = globalThis.navigator?.locks;
  if (!locks) return run();
  let isStarted = false;
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), PATIENCE);
  try {
    return await locks.request(name, { signal: abort.signal }, () => {
      clearTimeout(timer);
      isStarted = true;
      return run();
    });
  } catch (error) {
    if (isStarted) throw error;
    return run();
  } finally {
    clearTimeout(timer);
  }
}
