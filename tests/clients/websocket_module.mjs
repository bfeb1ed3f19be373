// The module of docs/websocket.md, which lies in the folder that is named, on connections that this program makes up.
import assert from 'node:assert/strict';
import { pathToFileURL } from 'node:url';

const opened = [];

globalThis.WebSocket = class {
  readyState = 0;
  sent = [];

  constructor() {
    opened.push(this);
  }

  /** The connection opens, and its client signs in. */
  open() {
    this.readyState = 1;
    this.onopen();
    return this.sent[0];
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  /** The server sends a frame. What waits for an answer goes on at once. */
  async say(frame) {
    this.onmessage({ data: JSON.stringify(frame) });
    await null;
    await new Promise(setImmediate);
  }

  close() {
    this.lose(1000);
  }

  lose(code = 1006) {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onclose({ code });
  }
};

// The time between two attempts does not pass.
const attempts = [];
globalThis.setTimeout = (attempt) => attempts.push(attempt);
globalThis.setInterval = () => {};

const { connect } = await import(pathToFileURL(`${process.argv[2]}/socket.mjs`));

/** The next connection, after the last one was lost. */
function again() {
  attempts.shift()();
  const socket = opened.at(-1);
  return [socket, socket.open()];
}

let ended;
const { ask, close } = connect({ server: 'http://x', token: 't', events: 'a', onEnd: (code) => (ended = code) });
let [socket, signIn] = [opened.at(-1), opened.at(-1).open()];
assert.equal(signIn.after, undefined);
await socket.say({ event: 'a', id: '5' });
await socket.say({ event: '$synced', data: { id: '7' }, id: '7' });
await socket.say({ event: 'a', id: '8' });
socket.lose();

// Nothing is missing.
[socket, signIn] = again();
assert.deepEqual([signIn.events, signIn.after], ['a', '8']);

// Lost before the answer, between it and $synced, and after $synced but before the answer.
const lost = new Promise((resolve) => ask('subscribe', { events: 'b' }).catch(resolve));
await socket.say({ event: 'a', id: '9' });
socket.lose();
assert.match((await lost).message, /lost/);
[socket, signIn] = again();
assert.deepEqual([signIn.events, signIn.after], ['a,b', undefined]);
await socket.say({ event: '$synced', data: { id: '9' }, id: '9' });

let answer = ask('subscribe', { events: 'c' });
await socket.say({ ref: socket.sent.at(-1).ref, ok: { change: 1 } });
assert.equal((await answer).change, 1);
await socket.say({ event: 'c', id: '3' });
socket.lose();
[socket, signIn] = again();
assert.deepEqual([signIn.events, signIn.after], ['a,b,c', undefined]);
await socket.say({ event: '$synced', data: { id: '9' }, id: '9' });

answer = ask('subscribe', { events: 'd' });
await socket.say({ event: 'd', id: '4' });
await socket.say({ event: '$synced', data: { id: '9', change: 1 }, id: '9' });
await socket.say({ ref: socket.sent.at(-1).ref, ok: { change: 1 } });
await answer;
await socket.say({ event: 'a', id: '10' });
socket.lose();
[socket, signIn] = again();
assert.deepEqual([signIn.events, signIn.after], ['a,b,c,d', '10']);

// Asked for while there is no connection.
socket.lose();
await assert.rejects(ask('subscribe', { events: 'e' }), /not connected/);
[socket, signIn] = again();
assert.deepEqual([signIn.events, signIn.after], ['a,b,c,d,e', undefined]);

// Refused, so it is not asked for again.
const refused = assert.rejects(ask('subscribe', { events: 'a,bad' }), { code: 'filter_invalid' });
await socket.say({ ref: socket.sent.at(-1).ref, error: 'no', code: 'filter_invalid' });
await refused;
await socket.say({ event: 'a', id: '11' });
socket.lose();
[socket, signIn] = again();
assert.deepEqual([signIn.events, signIn.after], ['a,b,c,d,e', '11']);

// A refused token is not used again, and a taken one is.
for (const [token, answer, used] of [['bad', { error: 'no', code: 'unauthorized' }, 't'], ['later', { ok: {} }, 'later']]) {
  const renewed = ask('renew', { token }).catch(() => {});
  await socket.say({ ref: socket.sent.at(-1).ref, ...answer });
  await renewed;
  socket.lose();
  [socket, signIn] = again();
  assert.equal(signIn.token, used);
}

// Over for good: another connection goes on where this one was.
await new Promise((resolve) => {
  const ends = { onEnd: (code, after) => resolve(assert.deepEqual([code, after], [4401, '12'])) };
  connect({ server: 'http://x', token: 't', events: 'a', after: '11', ...ends });
  const other = opened.at(-1);
  assert.equal(other.open().after, '11');
  other.say({ event: 'a', id: '12' }).then(() => other.lose(4401));
});
assert.equal(attempts.length, 0);

// Closed while the next attempt waits, and then for good.
socket.lose();
close();
const before = opened.length;
attempts.shift()();
assert.equal(opened.length, before);
assert.equal(ended, undefined);
