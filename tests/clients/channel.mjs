// A client of ChannelAPI: it joins a channel whenever it has connected, and says what comes. It is started as
// `node channel.mjs <package> <url> <token> <transport>...`.
const [name, url, token, ...transports] = process.argv.slice(2);
const { io } = await import(name);

const say = (...line) => console.log(JSON.stringify(line));
const socket = io(url, { transports, reconnectionDelay: 10, reconnectionDelayMax: 50 });
socket.on('connect', () => {
  socket.io.engine.once('upgrade', (transport) => say('upgrade', transport.name));
  socket.emit('join_channel', { token });
});
socket.on('clientevent', (told) => say('clientevent', told));
socket.on('message', (message) => say('message', message));
socket.on('disconnect', (reason) => say('disconnect', reason));
