// The requests of people about their own account. They have the names and fields of the HTTP API, in the spelling of JavaScript.

import { fields, snake } from './http.js';
import type { Tokens } from './session.js';
import type { Client, RequestOptions } from './types.js';

const NAMES =
  'me exportMe sessions updateMe endSession createInvite deleteMe changePassword twoFactorBegin twoFactorConfirm twoFactorEnd';

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

/** `begin` goes on with a new sign-in: the former ones have ended. `end` forgets this one. */
export function createAccount(
  request: (path: string, options?: RequestOptions) => Promise<any>,
  begin: (tokens: Tokens) => Promise<void>,
  end: (reason: string) => Promise<void>,
): Account {
  const call = async (name: string, options?: object) => {
    // What is answered with a new sign-in is asked for one that can be renewed.
    const answer = await request(`/${snake(name)}`, { body: options && { ...fields(options), refresh: true } });
    if (answer.jwt) await begin(answer);
    if (name === 'deleteMe') await end('deleted');
    return answer;
  };
  const account = Object.fromEntries(NAMES.split(' ').map((name) => [name, (options?: object) => call(name, options)]));
  return {
    ...(account as unknown as Account),
    updateMe: (data) => call('updateMe', { data }),
    createInvite: (options = {}) => call('createInvite', options),
  };
}
