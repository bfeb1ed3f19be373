// The time by the server's clock, which tells how old a try is: that of a device may be set to anything.

import { now } from '../store.js';
import type { Host } from '../types.js';

export interface Clock {
  /** Takes the time of an answer. */
  seen(headers: Headers): void;
  /**
   * The time in Unix milliseconds, as far as an answer of the last minute has told. Else the server is asked, as this user, and the
   * failure of that request is this one's.
   */
  now(user: string): Promise<number>;
}

export function createClock(host: Host): Clock {
  let told = { ahead: 0, at: -Infinity, wall: 0 };
  const seen = (headers: Headers) => {
    const time = Date.parse(headers.get('date') ?? '');
    if (time) told = { ahead: time - now(), at: now(), wall: Date.now() };
  };
  return {
    seen,
    async now(user) {
      // Some clocks stand still while a device sleeps, and the other is set by people: only together they are trusted.
      const isOld = (passed: number) => Math.abs(passed) > 60_000;
      if (isOld(now() - told.at) || isOld(Date.now() - told.wall)) await host.request('/events?limit=1', { as: user, seen });
      return told.at > -Infinity ? told.ahead + now() : Date.now();
    },
  };
}
