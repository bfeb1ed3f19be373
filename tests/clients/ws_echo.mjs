// Uses npm's `ws` against a server that sends every message back. Arguments: its URL, and a certificate to trust if it is wss.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import WebSocket from 'ws';

const [url, root] = process.argv.slice(2);
const options = { ca: root && readFileSync(root) };
const large = 'Grüße, 日本 😀 '.repeat(10_000);

for (const perMessageDeflate of [true, false]) {
  const socket = new WebSocket(url, ['echo.v2', 'echo.v1'], { ...options, perMessageDeflate });
  await once(socket, 'open');
  assert.equal(socket.protocol, 'echo.v1');
  assert.equal(socket.extensions, perMessageDeflate ? 'permessage-deflate' : '');
  const sent = ['', 'text', Buffer.alloc(0), Buffer.from([0, 255]), large, Buffer.from(large)];
  for (const message of sent) {
    socket.send(message);
    const [back, isBinary] = await once(socket, 'message');
    assert.equal(isBinary, typeof message !== 'string');
    assert.ok(back.equals(Buffer.from(message)));
  }
  // In fragments, with a ping between them.
  const pong = once(socket, 'pong');
  socket.send('in ', { fin: false });
  socket.ping('are you there?');
  socket.send('fragments ', { fin: false });
  socket.send(large, { fin: true });
  assert.equal(String((await pong)[0]), 'are you there?');
  assert.equal(String((await once(socket, 'message'))[0]), `in fragments ${large}`);
  // Many at once.
  const back = [];
  const all = new Promise((resolve) => {
    socket.on('message', (message) => {
      back.push(Number(message));
      if (back.length === 1_000) resolve();
    });
  });
  for (let number = 0; number < 1_000; number++) socket.send(String(number));
  await all;
  assert.deepEqual(back, [...Array(1_000).keys()]);
  socket.close(4321, 'that is all');
  const [code, reason] = await once(socket, 'close');
  assert.deepEqual([code, String(reason)], [4321, 'that is all']);
}

// What is too large is refused with the code that says so.
const socket = new WebSocket(url, options);
await once(socket, 'open');
socket.on('error', () => {});
socket.send(Buffer.alloc(2 << 20));
assert.equal((await once(socket, 'close'))[0], 1009);

const foreign = new WebSocket(url, { ...options, origin: 'https://elsewhere.example' });
foreign.on('error', () => {});
const [, response] = await once(foreign, 'unexpected-response');
assert.equal(response.statusCode, 403);
foreign.terminate();
