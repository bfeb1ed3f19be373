// Guards `useHistory`: the last events at first, earlier ones when they are asked for, new ones as they happen, each once.
import { afterAll, beforeAll, it, vi } from 'vitest';
import { type History, useHistory } from '../../src/react/index.js';
import { createClient } from '../../src/index.js';
import { startProxy } from '../proxy.js';
import { PASSWORD, type Server, startServer, until } from '../server.js';
import { clientOf, show } from './dom.js';

let server: Server;
let hook: History;

beforeAll(async () => {
  server = await startServer();
  await server.user('alice');
  await server.user('bob');
});
afterAll(() => server.stop());

function Chat({ room, pageSize }: { room: string; pageSize: number }) {
  hook = useHistory(room, { pageSize });
  const { items, hasMore, loading, error } = hook;
  return <>{`${items.map(({ data }) => data)} ${hasMore ? 'more' : 'all'} ${loading ? 'loading' : ''}${error?.code ?? ''}`}</>;
}

it('shows the last events, earlier ones, and new ones', async () => {
  const client = await clientOf(server, 'alice');
  for (let n = 1; n <= 7; n += 1) await client.insert('room', n);
  const page = show(client, <Chat room="room" pageSize={3} />);
  await page.shows('5,6,7 more ');
  hook.more();
  await page.shows('2,3,4,5,6,7 more ');
  await client.insert('room', 8);
  await page.shows('2,3,4,5,6,7,8 more ');
  hook.more();
  hook.more();
  await page.shows('1,2,3,4,5,6,7,8 all ');
});

it('shows the lines of a chat, which are transient', async () => {
  const client = await clientOf(server, 'alice');
  await client.insert('lines', 1, { transient: true });
  const page = show(client, <Chat room="lines" pageSize={3} />);
  await page.shows('1 all ');
  await client.ready('lines');
  await client.insert('lines', 2, { transient: true });
  await page.shows('1,2 all ');
});

/** A page with two lines of a chat, whose stream is held back. */
async function showLate(room: string) {
  const token = await server.token('bob');
  const say = (data: unknown) => server.as(token, '/insert', { event: room, data });
  for (const data of [1, 2]) await say(data);
  const proxy = await startProxy(server.port);
  proxy.areStreamsHeld = true;
  const client = createClient<any>({ url: proxy.url, auth: { storage: 'memory' }, transport: 'fetch' });
  await client.signIn({ username: 'alice', password: PASSWORD });
  const page = show(client, <Chat room={room} pageSize={3} />);
  await page.shows('1,2 all ');
  return { token, say, proxy, client, page };
}

it('misses nothing while the stream is late, and reads again what could not be read', async () => {
  const { token, say, proxy, client, page } = await showLate('late');
  for (const data of [3, 4]) await say(data);
  proxy.areStreamsHeld = false;
  proxy.cut();
  client.retry();
  await page.shows('1,2,3,4 more ');
  // Without a network nothing can be read. It is, as soon as there is one.
  proxy.isSilent = true;
  const fetch = vi.spyOn(globalThis, 'fetch').mockRejectedValue(new TypeError('no network'));
  proxy.cut();
  await until(client.connection, ({ state }) => state === 'waiting');
  page.render(<Chat room="silent" pageSize={3} />);
  await page.shows(' more network');
  fetch.mockRestore();
  for (const data of [1, 2]) await server.as(token, '/insert', { event: 'silent', data });
  proxy.isSilent = false;
  client.retry();
  await page.shows('1,2 all ');
  client.close();
});

it('shows what is there now, and no hole, if much was said while the stream was late', async () => {
  const { say, proxy, client, page } = await showLate('much');
  for (const data of [3, 4, 5, 6, 7]) await say(data);
  proxy.areStreamsHeld = false;
  proxy.cut();
  client.retry();
  await page.shows('5,6,7 more ');
  hook.more();
  await page.shows('2,3,4,5,6,7 more ');
  client.close();
});

it('begins anew with another name', async () => {
  const client = await clientOf(server, 'alice');
  await client.insert('one', 1);
  await client.insert('two', 2);
  const page = show(client, <Chat room="one" pageSize={3} />);
  await page.shows('1 all ');
  page.render(<Chat room="two" pageSize={3} />);
  await page.shows('2 all ');
});

it('tells of a failure, and goes on after it', async () => {
  const client = await clientOf(server, 'alice');
  for (let n = 1; n <= 5; n += 1) await client.insert('later', n);
  const page = show(client, <Chat room="later" pageSize={2} />);
  await page.shows('4,5 more ');
  const fetch = vi.spyOn(globalThis, 'fetch').mockRejectedValue(new TypeError('no network'));
  hook.more();
  await page.shows('4,5 more network');
  fetch.mockRestore();
  hook.more();
  await page.shows('2,3,4,5 more ');
  hook.more();
  await page.shows('1,2,3,4,5 all ');
});

it('forgets what the former user saw', async () => {
  const client = await clientOf(server, 'alice');
  await client.insert('@alice/notes', 'mine');
  const page = show(client, <Chat room="@alice/notes" pageSize={2} />);
  await page.shows('mine all ');
  await client.signOut();
  await page.shows(' more loading');
});
