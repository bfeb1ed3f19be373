// Signing in, and the requests of people about their own account. Those have the names and fields of the HTTP API, in the spelling of
// JavaScript.

import { AuthError } from './errors.js';
import { fields, snake } from './http.js';
import { locked } from './lock.js';
import { keptOf } from './renewal.js';
import type { SessionKeeper } from './session.js';
import { claimsOf } from './supplied.js';
import type { AttachedPlugin, Client, Credentials, RequestOptions, SignUp } from './types.js';

export type Account = Pick<
  Client,
  | 'signIn'
  | 'signUp'
  | 'me'
  | 'exportMe'
  | 'sessions'
  | 'updateMe'
  | 'endSession'
  | 'createInvite'
  | 'deleteInvite'
  | 'deleteMe'
  | 'changePassword'
  | 'twoFactorBegin'
  | 'twoFactorConfirm'
  | 'twoFactorEnd'
>;

export interface AccountHost {
  request(path: string, options?: RequestOptions): Promise<any>;
  session: SessionKeeper;
  plugins: readonly AttachedPlugin[];
  /** Ends a session that nobody uses any more. */
  logout(refreshToken?: string): Promise<void>;
  /** Whether somebody has signed out since this was asked for. */
  isOut(): boolean;
}

type SignInOptions = Credentials & { discard?: boolean | undefined };

const admit = async ({ plugins }: AccountHost, user: string, discard?: boolean) => {
  for (const plugin of plugins) await plugin.beforeSignIn?.(user, !!discard);
};

async function signIn(host: AccountHost, { username, discard, ...proof }: SignInOptions) {
  const { request, session, logout, isOut } = host;
  const user = username.normalize('NFC');
  const tokens = await request('/login', { open: true, body: { ...fields(proof), username: user, refresh: true } });
  // Before anything is thrown away: an answer without a token is none.
  const kept = keptOf(user, tokens);
  let former: string | undefined;
  try {
    await admit(host, user, discard);
    former = await session.refreshToken();
    if (isOut()) throw new AuthError('signed-out', 'signed out before the sign-in was answered', 401);
  } catch (error) {
    void logout(tokens.refresh_token);
    throw error;
  }
  await session.start(kept);
  void logout(former);
}

async function signUp(host: AccountHost, { discard, ...account }: SignUp & { discard?: boolean }) {
  const username = account.username.normalize('NFC');
  // An account that cannot be signed in here is not made. Nothing is discarded before there is one.
  if (!discard) await admit(host, username);
  await host.request('/sign_up', { open: true, body: { ...account, username } });
  await signIn(host, { username, password: account.password, discard });
}

export default async function call(host: AccountHost, name: string, more: RequestOptions, options?: any): Promise<any> {
  if (name === 'signIn') return signIn(host, options);
  if (name === 'signUp') return signUp(host, options);
  const { request, session, plugins, logout } = host;
  if (name === 'updateMe') options = { data: options };
  if (name === 'createInvite') options ??= {};
  // What is answered with a new sign-in is asked for one that can be renewed.
  more.body = options && { ...fields(options), refresh: true };
  // All of an account may be long.
  if (name === 'exportMe') Object.assign(more, { timeout: 600_000, isText: true, isWhole: (text: string) => text[0] === '{' });
  const send = () => request(`/${snake(name)}`, more);
  // The server ends all sign-ins, and answers with a new one: no tab must ask for another token of the former ones in between.
  const isNew = name === 'changePassword' || name === 'twoFactorConfirm';
  // A renewal that is due would wait for the same lock.
  if (isNew) await session.token().catch(() => {});
  const answer = await (isNew ? locked(session.key, send) : send());
  const { user, reason } = session.store.get();
  // The former sign-ins have ended, which this page may have been told already. Who has signed in or out meanwhile stays so.
  const isTheirs = user ? user === more.as : reason !== 'signed-out';
  if (answer.jwt) await (isTheirs ? session.start(keptOf(more.as!, answer)) : logout(answer.refresh_token));
  if (name === 'deleteMe' && isTheirs) {
    await session.end('deleted');
    // The sign-in may have ended before, and what waits was kept for the next one.
    for (const plugin of plugins) await plugin.wipe?.(more.as);
  }
  // What waits in the outbox stays for the next sign-in, as when a session ends by itself.
  const isThis = name === 'endSession' && (options.all || options.session === claimsOf(session.jwt()).sid);
  if (isThis && isTheirs) await session.end('session_ended');
  // Tokens are for nobody else.
  if (answer.jwt) return answer.recovery_codes && { recovery_codes: answer.recovery_codes };
  return answer || undefined;
}
