// The requests of people about their own account. They have the names and fields of the HTTP API, in the spelling of JavaScript. Most
// pages never make one, so this is loaded with the first.

import { fields, snake } from './http.js';
import type { SessionKeeper } from './session.js';
import type { Client, RequestOptions } from './types.js';

export type Account = Pick<
  Client,
  | 'me'
  | 'exportMe'
  | 'sessions'
  | 'updateMe'
  | 'endSession'
  | 'createInvite'
  | 'deleteMe'
  | 'changePassword'
  | 'twoFactorBegin'
  | 'twoFactorConfirm'
  | 'twoFactorEnd'
>;

export interface AccountHost {
  request(path: string, options?: RequestOptions): Promise<any>;
  session: SessionKeeper;
  /** Ends a session that nobody uses any more. */
  logout(refreshToken?: string): Promise<void>;
}

export default async function call({ request, session, logout }: AccountHost, name: string, as?: string, options?: any): Promise<any> {
  if (name === 'updateMe') options = { data: options };
  if (name === 'createInvite') options ??= {};
  // What is answered with a new sign-in is asked for one that can be renewed.
  const more: RequestOptions = { as, body: options && { ...fields(options), refresh: true } };
  // All of an account may be long.
  if (name === 'exportMe') more.timeout = 600_000;
  const answer = await request(`/${snake(name)}`, more);
  const { user, reason } = session.store.get();
  // The former sign-ins have ended, which this page may have been told already. Who has signed in or out meanwhile stays so.
  const isTheirs = user ? user === more.as : reason !== 'signed-out';
  if (answer.jwt) await (isTheirs ? session.start(more.as!, answer) : logout(answer.refresh_token));
  if (name === 'deleteMe' && isTheirs) await session.end('deleted');
  // Tokens are for nobody else.
  return answer.jwt ? { recovery_codes: answer.recovery_codes } : answer;
}
