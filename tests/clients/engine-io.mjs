// Speaks Engine.IO to the echo application, with packets of Socket.IO written by hand, and fails if anything comes back otherwise. It is
// started as `node engine-io.mjs <url> <transport>...`.
import assert from 'node:assert/strict';
import { Socket } from 'engine.io-client';

const [url, ...transports] = process.argv.slice(2);
const socket = new Socket(url, { path: '/socket.io/', transports });
const messages = [];
let wake = () => {};
socket.on('message', (message) => {
  messages.push(message);
  wake();
});
const next = async () => {
  while (messages.length === 0) await new Promise((resolve) => (wake = resolve));
  return messages.shift();
};

const upgraded = transports.length > 1 && new Promise((resolve) => socket.once('upgrade', resolve));
await new Promise((resolve) => socket.once('open', resolve));
socket.send('0');
assert.match(await next(), /^0\{"sid":"[\w-]{20}"\}$/);
assert.equal(await next(), '2["auth",{}]');
for (let round = 0; round < 2; round += 1) {
  for (let number = 0; number < 100; number += 1) socket.send(`2["message",${number}]`);
  for (let number = 0; number < 100; number += 1) assert.equal(await next(), `2["message-back",${number}]`);
  socket.send('51-["message",{"_placeholder":true,"num":0}]');
  socket.send(Buffer.from([1, 2, 3, 4]));
  assert.equal(await next(), '51-["message-back",{"_placeholder":true,"num":0}]');
  assert.deepEqual(await next(), Buffer.from([1, 2, 3, 4]));
  await upgraded;
  assert.equal(socket.transport.name, upgraded || round === 0 ? transports.at(round === 0 && !upgraded ? 0 : -1) : transports[0]);
}
const closed = new Promise((resolve) => socket.once('close', resolve));
socket.close();
assert.equal(await closed, 'forced close');
console.log('done');
