// A page's program for the drop-in: it says on standard output what the client calls, a JSON array a line. It is bundled with
// the client that is tried, broker-client 0.0.8 or this package, and gets the URL and the scenario as arguments.
import BrokerClient from 'broker-client';

const [url, scenario] = process.argv.slice(2);
const say = (...line) => console.log(JSON.stringify(line));
process.on('unhandledRejection', ({ message }) => say('unhandled', message));
process.on('uncaughtException', ({ message }) => say('uncaught', message));
console.error = (error) => say('console', error?.message ?? error);

const client = new BrokerClient(url, { headers: { authorization: 'Bearer token' } });
client.onopen = () => say('open', client.readState);
client.onclose = () => say('close', client.readState);
client.onmessage = ({ type, data, lastEventId }) => {
  say('message', type, data, lastEventId);
  if (scenario === 'throws' && data === '1') throw new Error('of the page');
  if (scenario === 'close') client.close();
};
if (scenario === 'listener of another name') client.addEventListener('length', ({ data }) => say('listener', data));
if (scenario === 'listeners') {
  client.addEventListener('a', () => say('never'));
  client.addEventListener('a', ({ data }) => say('listener', data));
  client.addEventListener('b', () => say('never'));
  client.removeEventListener('b');
}
if (scenario === 'close at once') {
  try {
    client.close();
  } catch ({ message }) {
    say('thrown', message);
  }
}
