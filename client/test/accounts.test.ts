// Sign-ins against the real server: they renew themselves while the stream goes on, and end for every reason there is.

import { createHmac } from 'node:crypto';
import { afterEach, expect, test, vi } from 'vitest';
import { createClient, type Client } from '../src/index.js';
import { startProxy } from './proxy.js';
import { letTokensLast, requests } from './requests.js';
import { PASSWORD, startServer, until, type Server } from './server.js';

const ends: (() => unknown)[] = [];
afterEach(async () => {
  vi.unstubAllGlobals();
  for (const end of ends.splice(0)) await end();
});

async function serverOf(...flags: string[]): Promise<Server> {
  const server = await startServer(flags);
  ends.push(() => server.stop());
  return server;
}

function clientOf(url: string): Client {
  const client = createClient({ url, auth: { storage: 'memory' } });
  ends.unshift(() => client.close());
  return client;
}

async function signedIn(url: string, username = 'alice'): Promise<Client> {
  const client = clientOf(url);
  await client.signIn({ username, password: PASSWORD });
  client.on('x', () => {});
  await client.ready('x');
  return client;
}

const stopped = (client: Client) => until(client.connection, ({ state }) => state === 'stopped');
const signedOut = (client: Client) => until(client.session, ({ status }) => status === 'signed-out');

test('a stream goes on over renewals of the token', async () => {
  letTokensLast(2);
  const server = await serverOf();
  await server.user('alice');
  const proxy = await startProxy(server.port);
  const client = await signedIn(proxy.url);
  const states: string[] = [];
  client.connection.subscribe(() => states.push(client.connection.get().state));
  const renewals = requests('/subscription');
  await renewals.reach(3);
  await client.insert('x', 'still there');
  await until(client.latest('x'), (item) => item?.data === 'still there' && !item.pending);
  expect(states).toEqual([]);
  expect(proxy.streams).toBe(1);
  expect(client.session.get()).toEqual({ status: 'signed-in', user: 'alice' });
});

test('who signs out is out, here and on the server', async () => {
  const server = await serverOf();
  await server.user('alice');
  const client = await signedIn(server.url);
  const other = await signedIn(server.url);
  expect(await other.sessions()).toHaveLength(2);
  const logout = requests('/logout');
  await client.signOut();
  expect(client.session.get()).toEqual({ status: 'signed-out', reason: 'signed-out' });
  expect((await stopped(client)).reason).toBe('signed-out');
  expect(client.latest('x').get()).toBeUndefined();
  expect(logout.count()).toBe(1);
  expect(await other.sessions()).toHaveLength(1);
  await expect(client.insert('x', 1)).rejects.toMatchObject({ code: 'unauthorized' });
  await client.signIn({ username: 'alice', password: PASSWORD });
  await until(client.connection, ({ state }) => state === 'live');
});

test('a session that was ended from elsewhere is signed out at once, with the reason', async () => {
  const server = await serverOf();
  await server.user('alice');
  const [one, other] = [await signedIn(server.url), await signedIn(server.url)];
  const session = (await other.sessions()).find((session) => !session.current)!;
  await other.endSession({ session: session.session });
  expect((await signedOut(one)).reason).toBe('session_ended');
  expect((await stopped(one)).reason).toBe('session_ended');
  expect(other.connection.get().state).toBe('live');
  await other.endSession({ all: true });
  expect((await signedOut(other)).reason).toBe('session_ended');
});

test('a user that is revoked, and one that another takes the last stream from', async () => {
  const server = await serverOf('--streams_per_user=1');
  await server.user('alice');
  const first = await signedIn(server.url);
  const second = await signedIn(server.url);
  expect(await stopped(first)).toMatchObject({ reason: 'limit', stale: true });
  expect(first.session.get().status).toBe('signed-in');
  await server.admin('/revoke_user', { username: 'alice' });
  expect((await signedOut(second)).reason).toBe('session_ended');
  await server.admin('/unrevoke_user', { username: 'alice' });
  await second.signIn({ username: 'alice', password: PASSWORD });
  await until(second.connection, ({ state }) => state === 'live');
});

test('another password ends the other sign-ins, and this one goes on', async () => {
  const server = await serverOf();
  await server.user('alice');
  const [one, other] = [await signedIn(server.url), await signedIn(server.url)];
  await one.changePassword({ password: PASSWORD, newPassword: 'amber Kestrel 42 harbour' });
  await signedOut(other);
  await one.insert('x', 1);
  await until(one.connection, ({ state }) => state === 'live');
  await expect(one.changePassword({ password: 'wrong', newPassword: 'amber Kestrel 43 harbour' })).rejects.toMatchObject({ status: 401 });
  expect(one.session.get().status).toBe('signed-in');
});

test('people sign up, look after their account, and delete it', async () => {
  const server = await serverOf('--signup=open', '--signup_tenant=acme');
  const client = clientOf(server.url);
  await client.signUp({ username: 'carol', password: PASSWORD, data: { theme: 'light' } });
  expect(client.session.get()).toEqual({ status: 'signed-in', user: 'carol' });
  await client.updateMe({ theme: 'dark' });
  expect(await client.me()).toMatchObject({ username: 'carol', tenant_name: 'acme', data: { theme: 'dark' } });
  await client.insert('x', 'mine');
  const lines = (await client.exportMe()).trim().split('\n').map((line) => JSON.parse(line));
  expect(lines.map((line) => line.kind)).toEqual(expect.arrayContaining(['user', 'session', 'event']));
  await client.deleteMe({ password: PASSWORD });
  expect(client.session.get()).toEqual({ status: 'signed-out', reason: 'deleted' });
  await expect(client.signIn({ username: 'carol', password: PASSWORD })).rejects.toMatchObject({ status: 401 });
});

/** The code of an authenticator app: RFC 6238 with SHA-1, six digits and 30 seconds. */
function totp(secret: string, step: number): string {
  const bits = [...secret.replace(/=+$/, '')].map((letter) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0')).join('');
  const key = Buffer.from(bits.match(/.{8}/g)!.map((byte) => parseInt(byte, 2)));
  const time = Buffer.alloc(8);
  time.writeBigUInt64BE(BigInt(step));
  const mac = createHmac('sha1', key).update(time).digest();
  return String((mac.readUInt32BE(mac[19]! & 15) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}

test('two-factor is switched on by its owner, asked for after the right password, and a recovery code does as well', async () => {
  const server = await serverOf();
  await server.user('alice');
  const client = await signedIn(server.url);
  const { secret, qr, uri } = await client.twoFactorBegin({ password: PASSWORD });
  expect(Buffer.from(qr, 'base64').subarray(1, 4).toString()).toBe('PNG');
  expect(uri).toContain('otpauth://totp/');
  const step = Math.floor(Date.now() / 30_000);
  const { recovery_codes } = await client.twoFactorConfirm({ totp: totp(secret, step) });
  expect(recovery_codes).toHaveLength(10);
  await until(client.connection, ({ state }) => state === 'live');

  const again = clientOf(server.url);
  const credentials = { username: 'alice', password: PASSWORD };
  await expect(again.signIn(credentials)).rejects.toMatchObject({ code: 'totp_required', status: 401 });
  await again.signIn({ ...credentials, recoveryCode: recovery_codes[0] });
  expect(again.session.get().status).toBe('signed-in');
  expect(await again.me()).toMatchObject({ two_factor: true });
  await again.twoFactorEnd({ password: PASSWORD, recoveryCode: recovery_codes[1] });
  await clientOf(server.url).signIn(credentials);
});

test('who may invite makes an invite, which lets one person in, and withdraws another', async () => {
  const server = await serverOf('--signup=invite');
  await server.admin('/create_user', { username: 'alice', password: PASSWORD, tenant_name: 'acme', scopes: ['*:get', '*:post', 'invite:post'] });
  const alice = await signedIn(server.url);
  const { invite } = await alice.createInvite({ uses: 1 });
  const bob = clientOf(server.url);
  await bob.signUp({ username: 'bob', password: PASSWORD, invite });
  expect(bob.session.get()).toMatchObject({ status: 'signed-in', user: 'bob' });
  const { invite: other } = await alice.createInvite();
  expect(await alice.deleteInvite({ invite: other })).toBeUndefined();
  const carol = clientOf(server.url).signUp({ username: 'carol', password: PASSWORD, invite: other });
  await expect(carol).rejects.toMatchObject({ code: 'invite_invalid' });
});
