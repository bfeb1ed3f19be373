// Starts the real server for a test, on a free port with a database of its own, and stops it again.

import { spawn, type ChildProcess } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const binary = process.env.BROKER_BIN ?? resolve(fileURLToPath(import.meta.url), '../../../target/debug/broker');

export const PASSWORD = 'quiet Osprey 71 lantern';

export interface UserFields {
  tenant_name?: string;
  scopes?: string[];
  [field: string]: unknown;
}

export interface Server {
  readonly url: string;
  readonly port: number;
  /** Makes a user of the tenant `acme`, with {@link PASSWORD}. */
  user(username: string, fields?: UserFields): Promise<void>;
  admin(path: string, body: Record<string, unknown>): Promise<any>;
  /** A token of a plain sign-in. */
  token(username: string): Promise<string>;
  /** A request of a user, by a token of {@link token}. */
  as(token: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<any>;
  /** The data of all events whose names begin so, also of former ones, in the order in which it was inserted. */
  inserted(token: string, prefix?: string): Promise<any[]>;
  /** Ends the process as by `kill -9`. */
  kill(): Promise<void>;
  /** Ends the process in order. */
  terminate(): Promise<void>;
  /** Starts it again on the same port and database. */
  start(flags?: string[]): Promise<void>;
  /** Puts the database of a process that has ended aside. What it gives brings it back, as an old backup, also more than once. */
  backup(): () => void;
  /** Ends it, and removes the database. */
  stop(): Promise<void>;
}

/** A port that nobody listens on. */
export async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((done) => probe.listen(0, '127.0.0.1', done));
  const { port } = probe.address() as { port: number };
  await new Promise((done) => probe.close(done));
  return port;
}

/** Starts a server with these flags, such as `--access_expiry=2`. */
export async function startServer(flags: string[] = []): Promise<Server> {
  // The first start chooses a free port, which no other test can take in between.
  let port = 0;
  let url = '';
  const db = mkdtempSync(join(tmpdir(), 'broker-client-'));
  const aside = `${db}.backup`;
  let child: ChildProcess | undefined;

  async function end(signal: NodeJS.Signals) {
    const process = child;
    child = undefined;
    if (!process || process.exitCode !== null || process.signalCode !== null) return;
    const gone = new Promise((done) => process.once('exit', done));
    process.kill(signal);
    await gone;
  }

  async function call(path: string, init: RequestInit) {
    const reply = await fetch(url + path, init);
    const text = await reply.text();
    if (!reply.ok) throw new Error(`${path}: ${reply.status} ${text}`);
    return text ? JSON.parse(text) : undefined;
  }

  const server: Server = {
    get url() {
      return url;
    },
    get port() {
      return port;
    },
    async start(more = flags) {
      flags = more;
      const process = spawn(binary, [`--port=${port}`, `--db=${db}`, '--ntp_servers=', ...flags], { stdio: ['ignore', 'pipe', 'pipe'] });
      child = process;
      let log = '';
      await new Promise<void>((resolve, reject) => {
        const read = (part: unknown) => {
          log += part;
          const listens = /listening url="(http:\/\/127\.0\.0\.1:(\d+))"/.exec(log);
          if (!listens) return;
          [url, port] = [listens[1]!, Number(listens[2])];
          resolve();
        };
        process.stdout!.on('data', read);
        process.stderr!.on('data', read);
        process.once('exit', () => reject(new Error(`the server has ended:\n${log}`)));
      });
    },
    kill: () => end('SIGKILL'),
    terminate: () => end('SIGTERM'),
    backup() {
      cpSync(db, aside, { recursive: true });
      return () => {
        rmSync(db, { recursive: true });
        cpSync(aside, db, { recursive: true });
      };
    },
    async stop() {
      await end('SIGKILL');
      for (const folder of [db, aside]) rmSync(folder, { recursive: true, force: true });
    },
    admin: (path, body) => call(path, { method: 'POST', body: JSON.stringify({ admin_token: 'letmein', ...body }) }),
    async user(username, fields = {}) {
      await server.admin('/create_user', { username, password: PASSWORD, tenant_name: 'acme', ...fields });
    },
    async token(username) {
      const body = JSON.stringify({ username, password: PASSWORD });
      return (await call('/login', { method: 'POST', body })).jwt;
    },
    async inserted(token, prefix = '') {
      const all: { id: string; data: unknown }[] = [];
      for (const { event } of await server.as(token, `/events?events=${encodeURIComponent(`${prefix}*`)}`)) {
        all.push(...(await server.as(token, `/history?event=${encodeURIComponent(event)}`)).events);
      }
      return all.sort((a, b) => (a.id < b.id ? -1 : 1)).map(({ data }) => data);
    },
    as: (token, path, body, headers = {}) =>
      call(path, {
        headers: { authorization: `Bearer ${token}`, ...headers },
        ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
      }),
  };
  await server.start();
  return server;
}

/** Resolves when the condition holds after a change of the store. */
export async function until<T>(store: { get(): T; subscribe(f: () => void): () => void }, holds: (value: T) => boolean): Promise<T> {
  if (holds(store.get())) return store.get();
  return new Promise((resolve) => {
    const stop = store.subscribe(() => {
      const value = store.get();
      if (!holds(value)) return;
      stop();
      resolve(value);
    });
  });
}
