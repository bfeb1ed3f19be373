// The requests of people about their own account: thin, and named as in the HTTP API.

import type { Client, Proof, RequestOptions } from './types.js';
import type { Tokens } from './session.js';

type Request = (path: string, options?: RequestOptions) => Promise<any>;

export type Account = Pick<
  Client,
  | 'me'
  | 'updateMe'
  | 'changePassword'
  | 'deleteMe'
  | 'exportMe'
  | 'sessions'
  | 'endSession'
  | 'createInvite'
  | 'twoFactorBegin'
  | 'twoFactorConfirm'
  | 'twoFactorEnd'
>;

export const proofOf = ({ password, totp, recoveryCode }: Proof) => ({ password, totp, recovery_code: recoveryCode });

/** `begin` goes on with a new sign-in: the former ones have ended. `end` forgets this one. */
export function createAccount(request: Request, begin: (tokens: Tokens) => Promise<void>, end: (reason: string) => Promise<void>): Account {
  const post = (path: string, body: object = {}) => request(path, { body });
  const nothing = () => undefined;
  return {
    me: () => request('/me'),
    updateMe: (data) => post('/update_me', { data }).then(nothing),
    changePassword: ({ newPassword, ...proof }) =>
      post('/change_password', { ...proofOf(proof), new_password: newPassword, refresh: true }).then(begin),
    deleteMe: (proof) => post('/delete_me', proofOf(proof)).then(() => end('deleted')),
    exportMe: () => request('/export_me'),
    sessions: () => request('/sessions'),
    endSession: (which) => post('/end_session', which).then(nothing),
    createInvite: ({ scopes, expiresIn, uses } = {}) => post('/create_invite', { scopes, expires_in: expiresIn, uses }),
    twoFactorBegin: (options) => post('/two_factor_begin', options),
    async twoFactorConfirm({ totp }) {
      const { recovery_codes, ...tokens } = await post('/two_factor_confirm', { totp, refresh: true });
      await begin(tokens);
      return { recovery_codes };
    },
    twoFactorEnd: (proof) => post('/two_factor_end', proofOf(proof)).then(nothing),
  };
}
