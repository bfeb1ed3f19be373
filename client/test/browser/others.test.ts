// Guards the client in Firefox and in WebKit (as WebKitGTK has it; Safari runs on no Linux): every transport, a kill and a restart of
// the server, and tabs that share a stream.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PASSWORD, type Server, startServer } from '../server.js';
import { PATIENCE } from '../patience.js';
import { eventually, servePage } from './browser.js';
import { type Driver, startFirefox, startWebKit, type Tab } from './drivers.js';

describe.each([
  ['Firefox', startFirefox],
  ['WebKit', startWebKit],
] as [string, () => Promise<Driver>][])('%s', (name, start) => {
  let server: Server;
  let driver: Driver;
  let site: Awaited<ReturnType<typeof servePage>>;
  let token: string;

  beforeAll(async () => {
    server = await startServer();
    await server.user('alice');
    token = await server.token('alice');
    [site, driver] = await Promise.all([servePage(), start()]);
    // A browser's first start is slow where all processors are busy.
  }, 4 * PATIENCE);
  afterAll(async () => {
    await driver?.close();
    site?.close();
    await server?.stop();
  });

  const insert = (event: string, data: unknown) => server.as(token, '/insert', { event, data });
  const heard = (tab: Tab) => tab.value<string[]>('broker.heard.map(({ event, data }) => event + data)');
  const state = (tab: Tab) => tab.value<string>('broker.client.connection.get().state');

  /** A tab with a client that is signed in and listens to a prefix. */
  async function open(prefix: string, options: object): Promise<Tab> {
    const tab = await driver.open(site.url);
    await eventually('the page', () => tab.value("'broker' in window"));
    const credentials = JSON.stringify({ username: 'alice', password: PASSWORD });
    await tab.value(`broker.create(${JSON.stringify({ url: server.url, ...options })}).signIn(${credentials})`);
    await tab.value(`broker.listen('${prefix}*')`);
    await eventually('a live stream', async () => (await state(tab)) === 'live');
    return tab;
  }

  it.each(['auto', 'fetch', 'xhr', 'eventsource', 'websocket'])('gets each event once by %s, through a kill and a restart', async (transport) => {
    const prefix = `${transport}/`;
    await insert(`${prefix}a`, 1);
    const tab = await open(prefix, { transport, share: false, auth: { storage: 'memory' } });
    await insert(`${prefix}b`, 'grüß 😀');
    // By itself, WebKit begins with what does not stall there.
    const isFetch = transport === 'fetch' || (transport === 'auto' && name === 'Firefox');
    expect(await tab.value("broker.requests.includes('/sse')")).toBe(isFetch);
    const wanted = [`${prefix}a1`, `${prefix}bgrüß 😀`];
    await eventually('two events', async () => (await heard(tab)).length >= 2);
    expect(await heard(tab)).toEqual(wanted);

    await server.kill();
    await eventually('the loss', async () => (await state(tab)) !== 'live');
    await server.start();
    await insert(`${prefix}c`, 3);
    await tab.value('broker.client.retry()');
    await eventually('the third', async () => (await heard(tab)).length >= 3);
    await tab.value(`broker.client.insert('${prefix}d', 4)`);
    await eventually('its own', async () => (await heard(tab)).length >= 4);
    expect(await heard(tab)).toEqual([...wanted, `${prefix}c3`, `${prefix}d4`]);
    await tab.value('broker.client.close()');
  });

  it('shares one stream among tabs', async () => {
    const tabs = [await open('tabs/', {}), await open('tabs/', {})];
    await insert('tabs/a', 1);
    for (const tab of tabs) await eventually('the event', async () => (await heard(tab)).includes('tabs/a1'));
    const reading: boolean[] = [];
    // One after the other: WebDriver looks at one tab at a time.
    for (const tab of tabs) reading.push(await tab.value('broker.isReading'));
    expect(reading.filter(Boolean)).toHaveLength(1);
    for (const tab of tabs) await tab.value('broker.client.close()');
  });
});
