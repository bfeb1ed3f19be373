// A client of notiflux over npm's `ws`: it subscribes to a topic whenever it has connected, and says what comes. It is started as
// `node topics.mjs <url> <topic> <token>`.
import WebSocket from 'ws';

const [url, topic, token] = process.argv.slice(2);
const say = (...line) => console.log(JSON.stringify(line));

function connect() {
  const socket = new WebSocket(url);
  socket.on('error', () => {});
  socket.on('open', () => {
    socket.send(`/subscribe ${topic} ${token}`);
    // Its answer says that the command before it is in force.
    socket.send('/ready?');
  });
  socket.on('message', (message, isBinary) => say(isBinary ? 'binary' : 'text', message.toString()));
  socket.on('close', () => setTimeout(connect, 10));
}

connect();
