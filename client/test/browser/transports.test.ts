// Each transport in a real browser: a stream of every name, a filter that changes, presence, and coming back after a cut.
import { expect, test } from 'vitest';
import type { TransportName } from '../../src/types.js';
import { PATIENCE } from '../patience.js';
import { startProxy } from '../proxy.js';
import { PASSWORD } from '../server.js';
import { eventually } from './browser.js';
import { setScene } from './scene.js';

const scene = setScene();

const insert = (event: string, data: unknown) => scene.server.as(scene.token, '/insert', { event, data });

async function open(url: string, transport: TransportName | 'auto') {
  const page = await scene.browser.tab();
  await page.evaluate(
    async ([url, transport, username, password]) => {
      const client = window.broker.create({ url, transport: transport as 'auto', share: false, auth: { storage: 'memory' } });
      await client.signIn({ username, password });
      window.broker.listen('list/*');
      client.presence().subscribe(() => {});
      await client.ready('list/*');
    },
    [url, transport, scene.alice, PASSWORD] as const,
  );
  const data = (filter: string) =>
    page.evaluate((filter) => window.broker.client.all(filter as '*').get().map((item) => [item.event, item.data]), filter);
  const shows = (filter: string, expected: unknown) =>
    eventually(`${filter} is ${JSON.stringify(expected)}`, async () => JSON.stringify(await data(filter)) === JSON.stringify(expected));
  return { page, shows };
}

for (const transport of ['fetch', 'xhr', 'websocket', 'eventsource'] as const) {
  test(`${transport}: every name, another filter, who is there, and back after a cut`, async () => {
    const at = `list/${transport}`;
    const proxy = await startProxy(scene.server.port);
    const { page, shows } = await open(proxy.url, transport);
    await insert(at, 'grüße 😀');
    await shows(`${at}*`, [[at, 'grüße 😀']]);
    await insert(`more/${transport}`, 1);
    await page.evaluate(async (filter) => {
      window.broker.watch(filter as '*');
      await window.broker.client.ready(filter as '*');
    }, `more/${transport}*`);
    await shows(`more/${transport}*`, [[`more/${transport}`, 1]]);
    const people = () => page.evaluate(() => window.broker.client.presence().get().map((one) => one.username).join());
    await eventually('alice alone', async () => (await people()) === scene.alice);
    // The filter was changed on the same stream.
    expect(proxy.streams).toBe(1);

    proxy.cut();
    await insert(at, 'missed');
    await insert(at, 'last');
    await shows(`${at}*`, [[at, 'last']]);
    const heard = await page.evaluate((at) => window.broker.heard.filter((one) => one.event === at).map((one) => one.data), at);
    expect(heard).toEqual(['grüße 😀', 'missed', 'last']);
    expect(proxy.requests.length).toBeGreaterThan(1);
  });
}

test('a transport that a proxy holds back is left for the next one', async () => {
  const proxy = await startProxy(scene.server.port);
  proxy.isStalled = true;
  const page = await scene.browser.tab();
  await page.evaluate(
    async ([url, username, password]) => {
      const client = window.broker.create({ url, transport: 'auto', share: false, auth: { storage: 'memory' } });
      await client.signIn({ username, password });
      window.broker.listen('list/*');
    },
    [proxy.url, scene.alice, PASSWORD] as const,
  );
  // Streams by `fetch` and XMLHttpRequest get no byte, as behind a proxy that buffers; a WebSocket has its frames.
  await eventually('it is live', () => page.evaluate(() => window.broker.client.connection.get().state === 'live'), 2 * PATIENCE);
  expect(proxy.requests.at(-1)).toContain('/ws');
}, 3 * PATIENCE);
