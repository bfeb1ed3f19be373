// What a client in this process asks by `fetch`, until `vi.unstubAllGlobals`.
import { vi } from 'vitest';

/** Counts the requests of a path that were answered, and resolves when there were so many. */
export function requests(path: string) {
  const { fetch: real } = globalThis;
  let count = 0;
  const waiting = new Set<() => void>();
  vi.stubGlobal('fetch', async (...request: Parameters<typeof fetch>) => {
    const reply = await real(...request);
    if (new URL(String(request[0])).pathname === path) {
      count++;
      waiting.forEach((look) => look());
    }
    return reply;
  });
  return {
    count: () => count,
    reach: (so: number) =>
      new Promise<void>((resolve) => {
        const look = () => count >= so && resolve();
        waiting.add(look);
        look();
      }),
  };
}

/**
 * Tells clients that their tokens last so many seconds. The server takes them far longer, so that it does not matter how late a slow
 * machine renews them.
 */
export function letTokensLast(expires_in: number) {
  const { fetch: real } = globalThis;
  vi.stubGlobal('fetch', async (...request: Parameters<typeof fetch>) => {
    const reply = await real(...request);
    if (!reply.ok || !/\/(login|refresh)$/.test(String(request[0]))) return reply;
    return Response.json({ ...((await reply.json()) as object), expires_in });
  });
}
