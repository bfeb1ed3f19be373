// What a page goes through: frozen, hidden, kept for going back, without a network.

import type { WatchPage } from './source.js';

export const watchPage: WatchPage = (on) => {
  const page = globalThis.document;
  if (!globalThis.addEventListener) return () => {};
  const stops: (() => void)[] = [];
  const listen = (target: EventTarget | undefined, name: string, run: (event: any) => void) => {
    target?.addEventListener(name, run);
    stops.push(() => target?.removeEventListener(name, run));
  };
  listen(globalThis as any, 'online', () => on.wake('online'));
  listen(globalThis as any, 'pageshow', (event) => event.persisted && on.wake('resume'));
  // A page that is left may be kept for going back, which an open stream, a lock and a channel would keep it from.
  listen(globalThis as any, 'pagehide', () => on.sleep());
  listen(page, 'freeze', () => on.sleep());
  listen(page, 'resume', () => on.wake('resume'));
  listen(page, 'visibilitychange', () => page.visibilityState === 'visible' && on.wake('visible'));
  return () => stops.forEach((stop) => stop());
};
