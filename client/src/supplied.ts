// Tokens that a service of the application supplies.

import { BrokerError, NetworkError } from './errors.js';
import type { AuthOptions } from './types.js';

/** The user of the token; undefined if it cannot be read. */
function userOf(jwt: string): string | undefined {
  try {
    // `escape` makes text of UTF-8, also where there is no TextDecoder.
    const { sub } = JSON.parse(decodeURIComponent(escape(atob(jwt.split('.')[1]!.replace(/-/g, '+').replace(/_/g, '/')))));
    return typeof sub === 'string' && sub ? sub : undefined;
  } catch {
    return;
  }
}

export interface Supplied {
  kept?: { user: string; jwt: string };
  /** Why there is no token to be used. */
  reason?: string;
}

export default async function supplied(supplier: NonNullable<AuthOptions['token']>): Promise<Supplied> {
  let jwt: string | undefined;
  try {
    jwt = typeof supplier === 'function' ? await supplier() : supplier;
  } catch (error) {
    // It may be back soon.
    throw error instanceof BrokerError ? error : new NetworkError('no_token', `no token was supplied: ${error}`);
  }
  if (!jwt) return { reason: 'signed-out' };
  const user = userOf(jwt);
  // Who cannot be told from others would be shown what is theirs.
  return user === undefined ? { reason: 'token_unreadable' } : { kept: { user, jwt } };
}
