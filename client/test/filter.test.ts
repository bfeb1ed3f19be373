// Which names there can be: the client must leave out of its filter what the server would refuse, and nothing else.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { isPossible } from '../src/filter.js';
import { startServer, type Server } from './server.js';

let server: Server;
beforeAll(async () => {
  server = await startServer();
  await server.user('alice');
});
afterAll(() => server.stop());

const NAMES = [
  'news', 'news/1', 'a b', 'ü', '😀', '@alice/x', 'a*b', '*', 'news/*', '#', 'a:b', 'x'.repeat(256), 'ü'.repeat(128), 'identity: 1',
  'order/id:*', 'id:*', 'order/valid:x*', 'data', 'retry :1',
  '', ' ', '\n', 'a\nb', 'a\tb', 'a\u0000', 'a\u2028b', '\u2029', 'x'.repeat(257), 'ü'.repeat(129), 'id:5', 'order/id:5', 'valid:1', 'valid:',
  'data:', 'x event: y', 'retry:1',
];

test.each(NAMES)('%j is asked for if the server takes it', async (name) => {
  const token = await server.token('alice');
  const reply = await fetch(`${server.url}/events?events=${encodeURIComponent(name)}`, { headers: { authorization: `Bearer ${token}` } });
  expect([200, 400]).toContain(reply.status);
  expect(isPossible(name)).toBe(reply.status === 200);
});

test('half of a character cannot even be said to the server', () => {
  expect(isPossible('half of \ud83d')).toBe(false);
});
