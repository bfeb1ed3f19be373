// Does what a client of Socket.IO can do against the echo application, and fails if anything comes back otherwise. It is started as
// `node socket-io.mjs <package> <url> <transport>...`.
import assert from 'node:assert/strict';

const [name, url, ...transports] = process.argv.slice(2);
const { io } = await import(name);

const next = (socket, event) => new Promise((resolve) => socket.once(event, (...args) => resolve(args)));
const ask = (socket, event, ...args) => new Promise((resolve) => socket.emit(event, ...args, (...said) => resolve(said)));
const connect = (namespace, auth) => io(url + namespace, { transports, auth, forceNew: true, reconnectionDelay: 10 });
const last = transports.at(-1);
/** Resolves when no other transport is left to change to. */
const settled = (socket) =>
  new Promise((resolve) => {
    const { engine } = socket.io;
    if (engine.transport.name === last) resolve();
    else engine.once('upgrade', resolve);
  });

/** Says something in each form, and hears it back. */
async function echoes(socket) {
  const binary = Buffer.from([1, 2, 3, 4]);
  const args = [1, '2', { 3: [true, null] }, 'grün \u{1F600} \x1e', { deep: [{ binary }] }, binary];
  socket.emit('message', ...args);
  assert.deepEqual(await next(socket, 'message-back'), args);
  assert.deepEqual(await ask(socket, 'message-with-ack', ...args), args);
  assert.deepEqual(await ask(socket, 'message-with-ack'), []);
  const large = 'x'.repeat(900_000);
  assert.deepEqual(await ask(socket, 'message-with-ack', large), [large]);
  // In order, however they are put together on the way.
  const answers = await Promise.all(Array.from({ length: 200 }, (_, number) => ask(socket, 'message-with-ack', number)));
  assert.deepEqual(answers.flat(), Array.from({ length: 200 }, (_, number) => number));
}

const socket = connect('/', { token: '123' });
assert.deepEqual(await next(socket, 'auth'), [{ token: '123' }]);
assert.equal(typeof socket.id, 'string');
await echoes(socket);
await settled(socket);
await echoes(socket);

// The server asks.
socket.on('question', (what, answer) => answer(what, Buffer.from([5])));
socket.emit('ask', { to: 'you' });
assert.deepEqual(await next(socket, 'answered'), [{ to: 'you' }, Buffer.from([5])]);

// Another namespace on the same connection, and one that there is not.
const custom = socket.io.socket('/custom', { auth: { token: 'abc' } });
await next(custom, 'auth');
await echoes(custom);
const unknown = socket.io.socket('/unknown');
const [error] = await next(unknown, 'connect_error');
assert.equal(error.message, 'Invalid namespace');
custom.emit('leave');
assert.deepEqual((await next(custom, 'disconnect'))[0], 'io server disconnect');
await echoes(socket);

// A session that the server ends: the client comes back by itself.
socket.emit('close');
assert.match((await next(socket, 'disconnect'))[0], /^transport (close|error)$/);
await next(socket, 'connect');
await echoes(socket);
socket.disconnect();

// A refusal with data.
const refused = connect('/', { refuse: true });
const [refusal] = await next(refused, 'connect_error');
assert.deepEqual([refusal.message, refusal.data], ['Not authorized', 'because']);
refused.disconnect();

// An event stream, through the upgrade and, by those that know recovery, through a lost connection.
const listener = connect('/', { recoverable: 'p1' });
let count = 0;
let done = () => {};
listener.on('number', (number, offset) => {
  assert.deepEqual([number, offset], [count, String(count)]);
  count += 1;
  if (count % 1000 === 0) done();
});
const thousands = (number) =>
  new Promise((resolve) => {
    done = () => count === number * 1000 && resolve();
    done();
  });
await next(listener, 'auth');
listener.emit('listen');
listener.emit('more', 1000);
await thousands(1);
await settled(listener);
listener.emit('more', 1000);
await thousands(2);
if (name === 'socket.io-client') {
  assert.equal(listener.recovered, false);
  const { id } = listener;
  listener.io.engine.close();
  await next(listener, 'connect');
  assert.equal(listener.recovered, true);
  assert.notEqual(listener.id, id);
  listener.emit('listen');
  listener.emit('more', 1000);
  await thousands(3);
}
listener.disconnect();
console.log('done');
// A socket that the server has disconnected may keep the connection.
process.exit();
