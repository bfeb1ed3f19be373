// Guards rendering on a server, taking that over in a page, and suspense.
import { Writable } from 'node:stream';
import { Component, type ReactNode, Suspense } from 'react';
import { renderToPipeableStream, renderToString } from 'react-dom/server';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createClient } from '../../src/index.js';
import {
  BrokerProvider,
  useAll,
  useConnection,
  useLatest,
  usePresence,
  useSession,
  useSuspenseAll,
  useSuspenseLatest,
} from '../../src/react/index.js';
import type { Client, Item } from '../../src/types.js';
import { PASSWORD, type Server, startServer, until } from '../server.js';
import { clientOf, complaints, hydrate, show } from './dom.js';

let server: Server;
beforeAll(async () => {
  server = await startServer();
  await server.user('alice');
});
afterAll(() => server.stop());

const within = (client: Client<any>, node: ReactNode) => <BrokerProvider client={client}>{node}</BrokerProvider>;

function List() {
  const [todos, title] = [useAll('todo/*'), useLatest('title')];
  const [{ status }, { state }, online] = [useSession(), useConnection(), usePresence()];
  return (
    <p>
      {title?.data}: {todos.map(({ data }) => data).join()} {status} {state} {online.length}
    </p>
  );
}

describe('a page that a server has rendered', () => {
  it('shows the events that were read for it, and goes on from there', async () => {
    const token = await server.token('alice');
    for (const [event, data] of [['title', 'Shopping'], ['todo/1', 'milk'], ['todo/2', 'bread']]) {
      await server.as(token, '/insert', { event, data });
    }
    const initialEvents: Item[] = await server.as(token, '/events?events=title,todo/*');
    const onServer = createClient<any>({ url: server.url, auth: { storage: 'memory' }, initialEvents });
    const html = renderToString(within(onServer, <List />));
    expect(html.replace(/<!-- -->/g, '')).toBe('<p>Shopping: milk,bread unknown idle 0</p>');
    expect(onServer.connection.get().state).toBe('idle');

    // The page is taken over late: its client is signed in and live, and has other events by then.
    const errors = complaints();
    const client = await clientOf(server, 'alice', { initialEvents });
    const stops = [client.on('*', () => undefined), client.presence().subscribe(() => undefined)];
    await server.as(token, '/insert', { event: 'todo/3', data: 'butter' });
    await until(client.all('todo/*'), (items) => items.length === 3);
    const page = hydrate(html, within(client, <List />));
    await page.shows('Shopping: milk,bread,butter signed-in live 1');
    expect(page.errors).toEqual([]);
    expect(errors).toEqual([]);
    await client.remove('todo/1');
    await page.shows('Shopping: bread,butter signed-in live 1');
    for (const stop of stops) stop();
  });
});

describe('suspense', () => {
  const All = () => <>{`${useSuspenseAll('s/*').map(({ data }) => data)}`}</>;
  const Latest = ({ name }: { name: string }) => <>{`${useSuspenseLatest(name)?.data}`}</>;
  const waiting = (node: ReactNode) => <Suspense fallback="waiting">{node}</Suspense>;

  it('shows the fallback until everything has come, and never again', async () => {
    const own = await startServer();
    await own.user('alice');
    const client = await clientOf(own, 'alice');
    await client.insert('s/1', 1);
    await client.insert('s/2', 2);
    const page = show(client, waiting(<All />));
    await page.shows('waiting');
    await page.shows('1,2');
    const texts = new Set<string>();
    new MutationObserver(() => texts.add(page.text())).observe(page.container, { childList: true, subtree: true, characterData: true });
    await until(client.connection, ({ state }) => state === 'live');
    await own.kill();
    await until(client.connection, ({ stale }) => stale);
    page.render(waiting(<All key="another" />));
    await own.start();
    client.retry();
    await until(client.connection, ({ state }) => state === 'live');
    await client.insert('s/3', 3);
    await page.shows('1,2,3');
    expect([...texts]).not.toContain('waiting');
    client.close();
    await own.stop();
  });

  it('ends if there is no event', async () => {
    const client = await clientOf(server, 'alice');
    const page = show(client, waiting(<Latest name="nothing" />));
    await page.shows('undefined');
  });

  it('renders on a server with the events that were read for it', () => {
    const initialEvents = [{ event: 's/1', data: 7, id: '1'.padStart(22, '0'), timestamp: 1, username: 'alice' }];
    const client = createClient<any>({ url: server.url, auth: { storage: 'memory' }, initialEvents });
    expect(renderToString(within(client, waiting(<All />)))).toContain('7');
  });

  /** What a server sends, and what it is told of. */
  async function piped(node: ReactNode) {
    const errors: unknown[] = [];
    let html = '';
    await new Promise<void>((resolve) => {
      const body = new Writable({
        write(part, _encoding, next) {
          html += part;
          next();
        },
        final: (next) => (next(), resolve()),
      });
      const { pipe } = renderToPipeableStream(node, { onAllReady: () => pipe(body), onError: (error) => void errors.push(error) });
    });
    return { html, errors };
  }

  it('keeps no server waiting, where nobody is signed in and nothing was read', async () => {
    const client = createClient<any>({ url: server.url, auth: { storage: 'memory' } });
    const page = within(client, waiting(<p><All />!<Latest name="s/1" /></p>));
    vi.stubGlobal('window', undefined);
    const { html, errors } = await piped(page);
    vi.unstubAllGlobals();
    expect(html.replace(/<!--.*?-->/g, '')).toBe('<p>!undefined</p>');
    expect(errors).toEqual([]);
    expect(client.connection.get().state).toBe('idle');
    // A server that looks like a page is told.
    const told = await piped(page);
    expect(told.html).toContain('waiting');
    expect(told.errors[0]).toMatchObject({ name: 'AuthError', code: 'signed-out' });
    client.close();
  });

  class Boundary extends Component<{ children: ReactNode }> {
    override state: { code?: string } = {};
    static getDerivedStateFromError = ({ code }: { code: string }) => ({ code });
    override render() {
      const { code } = this.state;
      return code ? <button onClick={() => this.setState({ code: undefined })}>{code}</button> : this.props.children;
    }
  }

  it('says why nothing comes, and goes on when it can', async () => {
    const errors = complaints();
    const client = await clientOf(server, 'alice');
    await client.insert('s/9', 9);
    await client.signOut();
    const page = show(client, <Boundary>{waiting(<Latest name="s/9" />)}</Boundary>);
    await page.shows('signed-out');
    await client.signIn({ username: 'alice', password: PASSWORD });
    page.container.querySelector('button')!.click();
    await page.shows('9');
    // React tells of what a boundary has caught.
    expect(errors.length).toBeGreaterThan(0);
  });
});
