// A user over Socket.IO: it says what comes, and emits what it is told on its standard input, a JSON array a line. It is started as
// `node signed-in.mjs <package> <url> <auth> <transport>...`.
import { createInterface } from 'node:readline';

const [name, url, auth, ...transports] = process.argv.slice(2);
const { io } = await import(name);

const say = (...line) => console.log(JSON.stringify(line));
const socket = io(url, { transports, auth: JSON.parse(auth), reconnectionDelay: 10, reconnectionDelayMax: 50 });
socket.on('connect', () => say('connect', socket.recovered ?? false));
socket.on('connect_error', ({ message, data }) => data && say('connect_error', message, data));
socket.on('disconnect', (reason) => say('disconnect', reason));
socket.onAny((event, ...args) => say('event', event, ...args));
for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...args] = JSON.parse(line);
  if (command === 'cut') socket.io.engine.close();
  else if (command === 'transport') say('transport', socket.io.engine.transport.name);
  else socket.emit(command, ...args, (answer) => say('answer', answer));
}
