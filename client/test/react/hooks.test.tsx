// Guards the hooks that show something: they show what there is as it changes, over one stream, and render no oftener than they must.
import { type ReactNode, useEffect } from 'react';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { useAll, useClient, useConnection, useInsert, useLatest, useOutbox, usePresence, useSession } from '../../src/react/index.js';
import type { Client, Outbox, OutboxPlugin, OutboxStatus, Queued } from '../../src/types.js';
import { type Server, startServer, until } from '../server.js';
import { clientOf, complaints, countStreams, holdRequests, show } from './dom.js';

let server: Server;
let client: Client<any>;
let round = 0;

beforeAll(async () => {
  server = await startServer();
  await server.user('alice');
  await server.user('bob');
});
afterAll(() => server.stop());

beforeEach(async () => {
  client = await clientOf(server, 'alice');
  round += 1;
});

/** A name that no other test uses. */
const own = (name: string) => `r${round}/${name}`;

const Latest = ({ name }: { name: string }) => <>{JSON.stringify(useLatest(name)?.data ?? null)}</>;
const Online = () => <>{usePresence().map(({ username }) => `${username} `)}</>;
const All = ({ filter }: { filter: string }) => <>{useAll(filter).map(({ event, data }) => `${event.split('/').at(-1)}=${data} `)}</>;

describe('useLatest and useAll', () => {
  it('show what there is, and each change of it', async () => {
    const bob = await clientOf(server, 'bob');
    await bob.insert(own('a'), 1);
    await bob.insert(own('b'), 2);
    const one = show(client, <Latest name={own('a')} />);
    const all = show(client, <All filter={own('*')} />);
    await one.shows('1');
    await all.shows('a=1 b=2 ');
    await bob.insert(own('a'), 3);
    await one.shows('3');
    await all.shows('a=3 b=2 ');
    await bob.remove(own('a'));
    await one.shows('null');
    await all.shows('b=2 ');
  });

  it('follow another name', async () => {
    await client.insert(own('a'), 1);
    await client.insert(own('b'), 2);
    const page = show(client, <Latest name={own('a')} />);
    await page.shows('1');
    page.render(<Latest name={own('b')} />);
    await page.shows('2');
    await client.insert(own('b'), 3);
    await page.shows('3');
  });

  it('render again for events of their own only', async () => {
    const renders: Record<string, number> = {};
    const Counted = ({ id, children }: { id: string; children: ReactNode }) => {
      useEffect(() => {
        renders[id] = (renders[id] ?? 0) + 1;
      });
      return children;
    };
    const Some = ({ id, hook }: { id: string; hook: () => unknown }) => {
      hook();
      return <Counted id={id}>{null}</Counted>;
    };
    for (const name of ['a', 'list/1', 'noise']) await client.insert(own(name), 0);
    const page = show(
      client,
      <>
        <Some id="latest" hook={() => useLatest(own('a'))} />
        <Some id="all" hook={() => useAll(own('list/*'))} />
        <Some id="session" hook={useSession} />
        <Some id="presence" hook={usePresence} />
        <Some id="insert" hook={useInsert} />
        <Online /> <Latest name={own('noise')} />
      </>,
    );
    await page.shows('alice  0');
    await until(client.connection, ({ state }) => state === 'live');
    const before = { ...renders };
    expect(before.latest).toBeGreaterThan(0);
    for (let n = 1; n <= 20; n += 1) await client.insert(own('noise'), n);
    await page.shows('alice  20');
    expect(renders).toEqual(before);
    await client.insert(own('list/2'), 1, { optimistic: false });
    await client.insert(own('noise'), 21, { optimistic: false });
    await page.shows('alice  21');
    expect(renders).toEqual({ ...before, all: (before.all ?? 0) + 1 });
  });

  it('open one stream in strict mode, however many there are', async () => {
    const streams = countStreams();
    await client.insert(own('a'), 1);
    const page = show(
      client,
      <>
        <Latest name={own('a')} />
        <Latest name={own('b')} />
        <All filter={own('*')} />
        <All filter="r*" />
      </>,
    );
    await until(client.connection, ({ state }) => state === 'live');
    await vi.waitFor(() => expect(page.text()).toContain('a=1'));
    expect(streams()).toBe(1);
    page.unmount();
    await until(client.connection, ({ state }) => state === 'idle');
  });
});

describe('usePresence, useSession and useConnection', () => {
  it('tell who is there', async () => {
    const page = show(client, <Online />);
    await page.shows('alice ');
    const bob = await clientOf(server, 'bob');
    const stop = bob.on(own('*'), () => undefined);
    await page.shows('alice bob ');
    stop();
    await page.shows('alice ');
  });

  it('tell who is signed in', async () => {
    const User = () => {
      const { status, user } = useSession();
      return <>{`${status} ${user ?? ''}`}</>;
    };
    const page = show(client, <User />);
    await page.shows('signed-in alice');
    await client.signOut();
    await page.shows('signed-out ');
  });

  it('tell of a lost connection, and of the next', async () => {
    const restarted = await startServer();
    await restarted.user('alice');
    const client = await clientOf(restarted, 'alice');
    const State = () => <>{`${useConnection().state === 'live'} ${useConnection().stale} ${useLatest('a')?.data}`}</>;
    await client.insert('a', 1);
    const page = show(client, <State />);
    await page.shows('true false 1');
    await restarted.kill();
    await page.shows('false true 1');
    await restarted.start();
    client.retry();
    await page.shows('true false 1');
    client.close();
    await restarted.stop();
  });

  it('say what is missing without a provider', async () => {
    const errors = complaints();
    const { createRoot } = await import('react-dom/client');
    const caught: Error[] = [];
    const root = createRoot(document.createElement('div'), { onUncaughtError: (error: unknown) => caught.push(error as Error) } as object);
    const Alone = () => {
      try {
        useClient();
      } catch (error) {
        caught.push(error as Error);
      }
      return null;
    };
    await new Promise<void>((resolve) => {
      const Told = () => (useEffect(resolve, []), (<Alone />));
      root.render(<Told />);
    });
    expect(caught[0]?.message).toContain('<BrokerProvider>');
    expect(errors).toEqual([]);
    root.unmount();
  });
});

describe('useInsert', () => {
  it('tells that it is under way, why it failed, and that the next went well', async () => {
    let write: ReturnType<typeof useInsert>;
    const Form = () => {
      write = useInsert();
      return <>{`${write.pending} ${write.error?.code}`}</>;
    };
    const page = show(client, <Form />);
    await page.shows('false undefined');
    const go = holdRequests();
    const first = write!.insert('x'.repeat(2000), 1);
    await page.shows('true undefined');
    go();
    expect(await first).toBe(undefined);
    await page.shows('false event_name_invalid');
    expect(await write!.insert(own('a'), 1)).toMatchObject({ id: expect.stringMatching(/^\d{22}$/) });
    await page.shows('false undefined');
    expect(await write!.update(own('a'), (data) => data + 1)).toMatchObject({ id: expect.any(String) });
    expect(await write!.remove(own('a'))).toMatchObject({ id: expect.any(String) });
  });

  it('goes on when its component has gone', async () => {
    let write: ReturnType<typeof useInsert>;
    const Form = () => {
      write = useInsert();
      return <>{`${write.pending}`}</>;
    };
    const page = show(client, <Form />);
    await page.shows('false');
    const go = holdRequests();
    const inserted = write!.insert(own('a'), 1);
    await page.shows('true');
    page.unmount();
    go();
    const ack = await inserted;
    const [found] = await server.as(await server.token('bob'), `/events?events=${own('a')}`);
    expect(found).toMatchObject({ id: ack!.id, data: 1, username: 'alice' });
  });

  it('gives the same functions at each render', async () => {
    const functions = new Set<unknown>();
    const Form = () => {
      const { insert } = useInsert();
      functions.add(insert);
      return <Latest name={own('a')} />;
    };
    const page = show(client, <Form />);
    await page.shows('null');
    page.render(<Form />);
    await client.insert(own('a'), 1);
    await page.shows('1');
    // Strict mode makes two of each at first.
    expect(functions.size).toBeLessThanOrEqual(2);
  });
});

describe('useOutbox', () => {
  it('shows what waits', async () => {
    let queued: readonly Queued[] = Object.freeze([]);
    const listeners = new Set<() => void>();
    const idle: OutboxStatus = { state: 'idle', durable: true };
    const outbox = {
      pending: { get: () => queued, subscribe: (f: () => void) => (listeners.add(f), () => listeners.delete(f)) },
      status: { get: () => idle, subscribe: () => () => undefined },
      async enqueue(event: string, data: unknown) {
        queued = Object.freeze([...queued, { key: '1', event, data, state: 'queued' }]);
        for (const listener of listeners) listener();
      },
      close() {},
    } as unknown as Outbox & { close(): void };
    const plugin: OutboxPlugin = { attach: () => outbox };
    const client = await clientOf(server, 'alice', { outbox: plugin });
    let hook: ReturnType<typeof useOutbox>;
    const Waiting = () => {
      hook = useOutbox();
      return <>{`${hook.status.state} ${hook.pending.map(({ event }) => event)}`}</>;
    };
    const page = show(client, <Waiting />);
    await page.shows('idle ');
    await hook!.enqueue('a', 1);
    await page.shows('idle a');
  });
});
