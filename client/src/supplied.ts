// Tokens that a service of the application supplies.

import { BrokerError, NetworkError } from './errors.js';
import { soon } from './soon.js';
import type { AuthOptions } from './types.js';

/** What a token says; nothing if it cannot be read. */
export function claimsOf(jwt = ''): { sub?: unknown; sid?: unknown } {
  try {
    // `escape` makes text of UTF-8, also where there is no TextDecoder.
    return JSON.parse(decodeURIComponent(escape(atob(jwt.split('.')[1]!.replace(/-/g, '+').replace(/_/g, '/'))))) ?? {};
  } catch {
    return {};
  }
}

/** As long as a request may take. */
const PATIENCE = 30_000;

export interface Supplied {
  kept?: { user: string; jwt: string };
  /** Why there is no token to be used. */
  reason?: string;
}

export default async function supplied(supplier: NonNullable<AuthOptions['token']>): Promise<Supplied> {
  let jwt: string | undefined;
  try {
    const give = async () => ({ jwt: typeof supplier === 'function' ? await supplier() : supplier });
    const answer = await soon(give(), PATIENCE);
    if (!answer) throw new NetworkError('timeout');
    ({ jwt } = answer);
  } catch (error) {
    // It may be back soon.
    throw error instanceof BrokerError ? error : new NetworkError('no_token', `no token was supplied: ${error}`);
  }
  if (!jwt) return { reason: 'signed-out' };
  const { sub: user } = claimsOf(jwt);
  // Who cannot be told from others would be shown what is theirs.
  return user && typeof user === 'string' ? { kept: { user, jwt } } : { reason: 'token_unreadable' };
}
