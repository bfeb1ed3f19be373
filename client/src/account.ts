// The requests of people about their own account. They have the names and fields of the HTTP API, in the spelling of JavaScript.

import { fields, snake } from './http.js';
import type { SessionKeeper } from './session.js';
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

export interface AccountHost {
  request(path: string, options?: RequestOptions): Promise<any>;
  session: SessionKeeper;
  /** Ends a session that nobody uses any more. */
  logout(refreshToken?: string): Promise<void>;
}

export function createAccount({ request, session, logout }: AccountHost): Account {
  const call = async (name: string, options?: object) => {
    // What is answered with a new sign-in is asked for one that can be renewed.
    const more: RequestOptions = { body: options && { ...fields(options), refresh: true } };
    const answer = await request(`/${snake(name)}`, more);
    const { as } = more;
    const { user } = session.store.get();
    // The former sign-ins have ended, which this page may have been told already. Another user who has signed in meanwhile stays.
    const isTheirs = !user || user === as;
    if (answer.jwt) await (isTheirs ? session.start(as!, answer) : logout(answer.refresh_token));
    if (name === 'deleteMe' && isTheirs) await session.end('deleted');
    // Tokens are for nobody else.
    return answer.jwt ? { recovery_codes: answer.recovery_codes } : answer;
  };
  const account = Object.fromEntries(NAMES.split(' ').map((name) => [name, (options?: object) => call(name, options)]));
  return {
    ...(account as unknown as Account),
    updateMe: (data) => call('updateMe', { data }),
    createInvite: (options = {}) => call('createInvite', options),
  };
}
