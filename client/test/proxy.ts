// A TCP proxy in front of a server: it can cut connections after so many bytes, go silent, or hand on byte by byte.

import { connect, createServer, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';

export interface Proxy {
  readonly url: string;
  /** Streams (`GET /sse`, `GET /ws`) that are opened from now on are cut off after so many bytes of the answer; `undefined` for none. */
  cutAfter: number | undefined;
  /** Hands on nothing, in either direction, of what is open and of what comes, but takes connections: a black hole. */
  isSilent: boolean;
  /** Holds back what streams answer. Requests are answered. */
  areStreamsHeld: boolean;
  /** New streams get their head, and then nothing. A WebSocket passes. */
  isStalled: boolean;
  /** The server does not learn that a stream was cut, and goes on with it. */
  isCutUnnoticed: boolean;
  /** How many bytes of streams were handed on. */
  received: number;
  /** How many connections asked for a stream. */
  readonly streams: number;
  /** The request lines of streams, the newest last. */
  readonly requests: string[];
  /** Cuts all connections that carry a stream. */
  cut(): void;
  /** It ends with its test; a test that has many of them may end each as soon as it can. */
  close(): Promise<void>;
}

export async function startProxy(port: number): Promise<Proxy> {
  const open = new Set<Socket>();
  const carriers = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1');
    let isStream = false;
    let isSocket = false;
    let hasHead = false;
    let left = Infinity;
    for (const socket of [client, upstream]) {
      open.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => {});
      socket.on('close', () => {
        open.delete(socket);
        carriers.delete(socket);
        client.destroy();
        if (!isStream || !proxy.isCutUnnoticed) upstream.destroy();
      });
    }
    client.on('data', (part) => {
      const line = /^GET \S*\/(sse|ws)\S*/.exec(part.toString('latin1'));
      if (line) {
        isStream = true;
        isSocket = line[1] === 'ws';
        carriers.add(client);
        proxy.requests.push(line[0]);
        left = proxy.cutAfter ?? Infinity;
      }
      if (!proxy.isSilent) upstream.write(part);
    });
    upstream.on('data', (part) => {
      if (proxy.isSilent || client.destroyed) return;
      if (!isStream) return void client.write(part);
      if (proxy.areStreamsHeld) return;
      if (proxy.isStalled && !isSocket) {
        if (hasHead) return;
        hasHead = true;
        part = part.subarray(0, part.indexOf('\r\n\r\n') + 4);
      }
      proxy.received += Math.min(part.length, left);
      if (part.length < left) {
        left -= part.length;
        client.write(part);
      } else {
        client.write(part.subarray(0, left), () => client.destroy());
        left = 0;
      }
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const proxy: Proxy = {
    url: `http://127.0.0.1:${(server.address() as { port: number }).port}`,
    cutAfter: undefined,
    received: 0,
    isSilent: false,
    isStalled: false,
    isCutUnnoticed: false,
    areStreamsHeld: false,
    get streams() {
      return proxy.requests.length;
    },
    requests: [],
    cut: () => carriers.forEach((socket) => socket.destroy()),
    async close() {
      const closed = new Promise((done) => server.close(done));
      open.forEach((socket) => socket.destroy());
      await closed;
    },
  };
  onTestFinished(() => proxy.close());
  return proxy;
}
