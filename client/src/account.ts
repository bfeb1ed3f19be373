// The requests of people about their own account. They have the names and fields of the HTTP API, in the spelling of JavaScript.

import { fields, snake } from './http.js';
import type { Tokens } from './session.js';
import type { Client, RequestOptions } from './types.js';

const READS = ['me', 'exportMe', 'sessions'] as const;
const WRITES = ['endSession', 'createInvite', 'deleteMe', 'changePassword', 'twoFactorBegin', 'twoFactorConfirm', 'twoFactorEnd'] as const;

export type Account = Pick<Client, (typeof READS)[number] | (typeof WRITES)[number] | 'updateMe'>;

/** `begin` goes on with a new sign-in: the former ones have ended. `end` forgets this one. */
export function createAccount(
  request: (path: string, options?: RequestOptions) => Promise<any>,
  begin: (tokens: Tokens) => Promise<void>,
  end: (reason: string) => Promise<void>,
): Account {
  const account: Record<string, (options: any) => Promise<unknown>> = {
    updateMe: (data) => request('/update_me', { body: { data } }),
  };
  for (const name of READS) account[name] = () => request(`/${snake(name)}`);
  for (const name of WRITES) {
    const isNew = name === 'changePassword' || name === 'twoFactorConfirm';
    account[name] = async (options) => {
      const answer = await request(`/${snake(name)}`, { body: { ...fields(options), ...(isNew && { refresh: true }) } });
      if (isNew) await begin(answer);
      if (name === 'deleteMe') await end('deleted');
      return answer;
    };
  }
  return account as unknown as Account;
}
