// A document for the tests of the hooks, with Node's own `fetch` beside it, and what every test of them needs.
import { Window } from 'happy-dom';
import { type ReactNode, StrictMode } from 'react';
import { createRoot, hydrateRoot } from 'react-dom/client';
import { afterEach, vi } from 'vitest';
import { createClient } from '../../src/index.js';
import { BrokerProvider } from '../../src/react/index.js';
import type { Client, ClientOptions } from '../../src/types.js';
import { createGate } from '../gate.js';
import { PATIENCE } from '../patience.js';
import { PASSWORD, type Server } from '../server.js';

const page = new Window({ url: 'http://localhost/' });
for (const name of ['document', 'HTMLElement', 'HTMLIFrameElement', 'Node', 'MutationObserver'] as const) {
  Object.defineProperty(globalThis, name, { value: page[name], configurable: true });
}
Object.defineProperty(globalThis, 'window', { value: page, configurable: true });

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

export interface Shown {
  container: HTMLElement;
  text(): string;
  /** Resolves when the page shows exactly this. */
  shows(text: string): Promise<void>;
  render(node: ReactNode): void;
  unmount(): void;
}

function shown(container: HTMLElement, render: (node: ReactNode) => void, unmount: () => void): Shown {
  const text = () => container.textContent ?? '';
  return {
    container,
    text,
    render,
    unmount,
    shows: (wanted) =>
      new Promise<void>((resolve, reject) => {
        const look = () => text() === wanted && end(resolve);
        const observer = new MutationObserver(look);
        const timer = setTimeout(() => end(() => reject(new Error(`it shows ${JSON.stringify(text())}, not ${wanted}`))), PATIENCE);
        const end = (settle: () => void) => {
          observer.disconnect();
          clearTimeout(timer);
          settle();
        };
        observer.observe(container, { childList: true, subtree: true, characterData: true });
        look();
      }),
  };
}

const element = () => document.body.appendChild(document.createElement('div'));

/** Shows a component in strict mode, as new apps do. */
export function show(client: Client<any>, node: ReactNode): Shown {
  const container = element();
  const root = createRoot(container);
  const render = (node: ReactNode) =>
    root.render(
      <StrictMode>
        <BrokerProvider client={client}>{node}</BrokerProvider>
      </StrictMode>,
    );
  render(node);
  ends.push(() => root.unmount());
  return shown(container, render, () => root.unmount());
}

/** Takes over what a server has rendered. `errors` are those of React, such as text that differs. */
export function hydrate(html: string, node: ReactNode): Shown & { errors: unknown[] } {
  const container = element();
  container.innerHTML = html;
  const errors: unknown[] = [];
  const root = hydrateRoot(container, node, { onRecoverableError: (error) => errors.push(error) });
  ends.push(() => root.unmount());
  return { ...shown(container, (node) => root.render(node), () => root.unmount()), errors };
}

/** A client of a user that is signed in. */
export async function clientOf(server: Server, username: string, options: Partial<ClientOptions> = {}): Promise<Client<any>> {
  const client = createClient<any>({ url: server.url, auth: { storage: 'memory' }, ...options });
  ends.push(() => client.close());
  await client.signIn({ username, password: PASSWORD });
  return client;
}

/** How often a stream was opened since then. */
export function countStreams(): () => number {
  const spy = vi.spyOn(globalThis, 'fetch');
  ends.push(() => spy.mockRestore());
  return () => spy.mock.calls.filter(([url]) => String(url).includes('/sse')).length;
}

/** Holds back every request until what it gives is called. */
export function holdRequests(): () => void {
  const { fetch } = globalThis;
  const gate = createGate();
  const spy = vi.spyOn(globalThis, 'fetch').mockImplementation(async (...request) => {
    await gate.isOpen;
    return fetch(...request);
  });
  ends.push(() => spy.mockRestore());
  return gate.open;
}

/** What React and the page complain of. */
export function complaints(): unknown[][] {
  const spy = vi.spyOn(console, 'error').mockImplementation(() => undefined);
  ends.push(() => spy.mockRestore());
  return spy.mock.calls;
}
