// React Native as it is without Expo: a `fetch` that does not stream, and an XMLHttpRequest that hands out its text in parts.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { createClient } from '../src/index.js';
import { PASSWORD, startServer, until, type Server } from './server.js';
import { NodeXhr, withGlobals } from './transports.js';

let server: Server;
let undo: () => void;

beforeAll(async () => {
  server = await startServer();
  await server.user('alice');
  // What React Native lacks. It has whatwg-fetch in the place of `fetch`, which is made of XMLHttpRequest.
  undo = withGlobals({
    XMLHttpRequest: NodeXhr,
    navigator: { product: 'ReactNative' },
    WebSocket: undefined,
    EventSource: undefined,
    crypto: undefined,
    TextDecoder: undefined,
    ReadableStream: undefined,
    BroadcastChannel: undefined,
    structuredClone: undefined,
    self: globalThis,
  });
  // @ts-expect-error It has no types.
  const { fetch } = await import('whatwg-fetch');
  const before = undo;
  const undoFetch = withGlobals({ fetch });
  const { timeout, any } = AbortSignal;
  Reflect.deleteProperty(AbortSignal, 'timeout');
  Reflect.deleteProperty(AbortSignal, 'any');
  undo = () => {
    Object.assign(AbortSignal, { timeout, any });
    undoFetch();
    before();
  };
});
afterAll(async () => {
  undo();
  await server.stop();
});

test('a client signs in, listens, inserts, and comes back', async () => {
  const stored = new Map<string, string>();
  const storage = {
    getItem: async (key: string) => stored.get(key) ?? null,
    setItem: async (key: string, value: string) => void stored.set(key, value),
    removeItem: async (key: string) => void stored.delete(key),
  };
  const client = createClient({ url: server.url, auth: { storage } });
  await client.signIn({ username: 'alice', password: PASSWORD });
  client.on('todo/*', () => {});
  await client.ready('todo/*');
  const { id } = await client.insert('todo/1', { text: 'milk' });
  await until(client.latest('todo/1'), (item) => item?.id === id);
  // Longer than what one XMLHttpRequest may keep: the stream goes on in another one.
  const made = NodeXhr.made;
  for (let at = 0; at < 16; at++) await client.insert('todo/long', 'x'.repeat(90_000), { optimistic: false });
  const last = await client.insert('todo/long', 'the last', { optimistic: false });
  await until(client.latest('todo/long'), (item) => item?.id === last.id);
  expect(NodeXhr.made).toBeGreaterThan(made + 17);
  client.close();

  // The app is started again, and is signed in.
  const again = createClient({ url: server.url, auth: { storage } });
  await until(again.session, ({ status }) => status === 'signed-in');
  again.on('todo/*', () => {});
  await again.ready('todo/*');
  // What an app does that comes to the foreground.
  again.retry();
  expect(again.latest('todo/1').get()!.data).toEqual({ text: 'milk' });
  again.close();

  // Its token has ended by then.
  const [key, text] = [...stored][0]!;
  const { refresh, ...kept } = JSON.parse(text);
  stored.set(key, JSON.stringify({ ...kept, refresh, at: Date.now() - 3_600_000 }));
  const later = createClient({ url: server.url, auth: { storage } });
  expect(await later.me()).toMatchObject({ username: 'alice' });
  expect(JSON.parse(stored.get(key)!).refresh).not.toBe(refresh);
  later.on('todo/*', () => {});
  await later.ready('todo/*');
  await later.signOut();
  expect(later.connection.get().state).toBe('stopped');
  expect(stored.size).toBe(0);
  later.close();
});

