// What a page goes through: frozen, hidden, kept for going back, without a network.

import type { WatchPage } from './source.js';

export const watchPage: WatchPage = (on) => {
  const { document } = globalThis;
  const listeners: Record<string, (event: any) => unknown> = {
    online: on.wake,
    pageshow: (event) => event.persisted && on.wake(),
    visibilitychange: () => document.visibilityState === 'visible' && on.wake(),
    resume: on.wake,
    // A page that is left may be kept for going back, which an open stream would keep it from.
    pagehide: on.sleep,
    freeze: on.sleep,
  };
  const each = (change: 'addEventListener' | 'removeEventListener') => {
    for (const [name, run] of Object.entries(listeners)) {
      (/^(v|r|f)/.test(name) ? document : globalThis)?.[change]?.(name, run);
    }
  };
  each('addEventListener');
  return () => each('removeEventListener');
};
