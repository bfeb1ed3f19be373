// The renewal of a token, one at a time over all tabs.

import { NetworkError, type BrokerError } from './errors.js';
import { isKept, type Kept, type Tokens } from './kept.js';
import { locked } from './lock.js';
import { soon } from './soon.js';
import { pause, when } from './store.js';
import type { RequestOptions, Stop } from './types.js';

/** So long another tab may take to learn what was stored, in ms. */
const STORED = 2000;

/** After so long the server is asked once more, in ms: an answer that was lost must be asked for again while the server knows the token. */
const SLOW = 5000;
/**
 * So long the first answer is waited for, in ms. If the next request uses the token, the first one must not come to the server more than 10 s
 * after that: it would be taken for one of a thief, and end the session.
 */
const LATE = 14_000;

/** What a session lets its renewal do. */
export interface Renewable {
  /** The name of the lock. */
  readonly key: string;
  /** Something else supplies tokens. */
  readonly isSupplied: boolean;
  kept(): Kept | undefined;
  /** Looks up what another tab may have done. */
  find(): Promise<void>;
  /** Takes it over for this tab alone. */
  take(next: Kept): void;
  /** Takes it over, and stores it for all tabs. */
  keep(next: Kept | undefined, reason?: string): Promise<void>;
  /** The same, and tells those who listen. */
  change(next: Kept): Promise<void>;
  post(path: string, options: RequestOptions): Promise<any>;
  onToken(listener: () => void): Stop;
}

/** What to keep of an answer. One without a token is none of the server: something between here and there gave it. */
export function keptOf(user: string, { jwt, expires_in, refresh_token }: Tokens): Kept {
  const kept = { user, jwt, refresh: refresh_token, life: expires_in, at: Date.now() };
  if (!jwt || !isKept(kept)) throw new NetworkError('cut_off');
  return kept;
}

/** Renews the token if it is still the one that is too old. Gives the one that is to be used. */
export function renew(session: Renewable, old: string): Promise<string | undefined> {
  const { key, isSupplied, kept, find, take, keep, change, post, onToken } = session;

  const run = async (hasWaited?: boolean) => {
    await find();
    // Browsers pass a lock on sooner than what was stored under it.
    if (hasWaited) await Promise.race([pause(STORED), when(onToken, () => kept()?.jwt !== old)]);
    const used = kept();
    if (!used || used.jwt !== old) return used?.jwt;
    if (!used.refresh) return void (await keep(undefined, 'expired'));
    const ask = async (timeout: number) =>
      keptOf(used.user, await post('/refresh', { body: { refresh_token: used.refresh }, timeout }));
    let next: Kept;
    try {
      const first = ask(LATE);
      const answer = await soon(first, SLOW);
      if (!answer) {
        // It may be slow and not lost. Then it has the successor, which the next answer has not.
        const isNews = ({ refresh }: Kept) => refresh && [kept()?.refresh, kept()?.spent].includes(used.refresh);
        first.then(async (late) => isNews(late) && (await change(late))).catch(() => {});
      }
      next = answer || (await ask(SLOW));
    } catch (error) {
      const { status, code } = error as BrokerError;
      if (status !== 401) throw error;
      await find();
      // Else another tab without locks was faster.
      if (kept()?.refresh === used.refresh) await keep(undefined, code);
      return kept()?.jwt;
    }
    await find();
    const now = kept();
    // It was signed out or in again meanwhile, perhaps in another tab, or another tab without locks was faster.
    if (now?.user !== used.user || (now.refresh && now.refresh !== used.refresh)) return now?.jwt;
    if (next.refresh) await keep(next);
    // Another tab has the successor. It must not be overwritten, whether it is written yet or not.
    else take({ ...next, spent: used.refresh });
    return next.jwt;
  };

  // What supplies tokens is code of the application, which must not run under a lock.
  return isSupplied ? run() : locked(key, run);
}
