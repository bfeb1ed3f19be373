// The flow of the mobile broker's README: two phones and a handler, over npm's mqtt, and a program of broker-client that sees the same
// events over SSE. It is started as `node mobile-broker.mjs <package> <url of MQTT> <url of HTTP> [page]`; the first line of its input is
// an object with the tokens of both phones, the key of handlers, and the token of a user. With `page`, a React page in Chromium sees the
// events, too, of which there must be none before.
import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import { createClient } from 'broker-client';
import { openPage } from './contacts-page.mjs';

const [name, url, http, withPage] = process.argv.slice(2);
const mqtt = (await import(name)).default;
const { value } = await createInterface({ input: process.stdin })[Symbol.asyncIterator]().next();
const { phones, key, token } = JSON.parse(value);

/** A queue that is awaited. */
function queue() {
  const [came, waiting] = [[], []];
  return {
    put: (item) => (waiting.length > 0 ? waiting.shift()(item) : came.push(item)),
    next: () => (came.length > 0 ? came.shift() : new Promise((resolve) => waiting.push(resolve))),
  };
}

async function connect(username, password, ...topics) {
  const client = mqtt.connect(url, { username, password, reconnectPeriod: 0 });
  client.came = queue();
  client.on('message', (topic, payload) => client.came.put([topic, JSON.parse(payload)]));
  await new Promise((resolve, reject) => {
    client.on('connect', resolve);
    client.on('error', reject);
  });
  client.granted = await new Promise((resolve) =>
    // The newer versions give a refusal as an error.
    client.subscribe(topics, { qos: 1 }, (error, granted) => resolve(error ? [128] : granted.map(({ qos }) => qos))),
  );
  return client;
}
const publish = (client, topic, payload, retain = false) =>
  new Promise((resolve, reject) =>
    client.publish(topic, JSON.stringify(payload), { qos: 1, retain }, (error) => (error ? reject(error) : resolve())),
  );
const comes = async (client, ...expected) => assert.deepEqual(await client.came.next(), expected);

const handler = await connect('handler', key, 'request_contact', 'accept_contact', 'get_contact_list');
const one = await connect('JWT', phones['68946'], '68946_contact_approved', '68946_contact_list');
const two = await connect('JWT', phones['23412'], '23412_contact_requested');
const program = createClient({ url: http, auth: { token: () => token }, transport: 'fetch' });
const seen = queue();
program.on('*', ({ event, data }) => seen.put([event, data]));
await program.ready('*');
const page = withPage ? await openPage(http, token) : undefined;
assert.equal((await page?.count('requested by 68946')) ?? 0, 0);

const request = { id: 68946, request_contact: 23412 };
await publish(one, 'request_contact', request);
await comes(handler, 'request_contact', request);
await publish(handler, '23412_contact_requested', { contact: 68946 });
await comes(two, '23412_contact_requested', { contact: 68946 });
await page?.shows('requested by 68946');
const accepted = { id: 23412, accept_contact: 68946 };
await publish(two, 'accept_contact', accepted);
await comes(handler, 'accept_contact', accepted);
await publish(handler, '68946_contact_approved', { contact: 23412 });
await comes(one, '68946_contact_approved', { contact: 23412 });
await publish(one, 'get_contact_list', { id: 68946 });
await comes(handler, 'get_contact_list', { id: 68946 });
await publish(handler, '68946_contact_list', [23412], true);
await comes(one, '68946_contact_list', [23412]);
await page?.shows('contacts: [23412]');

// The program has seen it all, in the same order.
for (const expected of [
  ['request_contact', request],
  ['23412_contact_requested', { contact: 68946 }],
  ['accept_contact', accepted],
  ['68946_contact_approved', { contact: 23412 }],
  ['get_contact_list', { id: 68946 }],
  ['68946_contact_list', [23412]],
]) {
  assert.deepEqual(await seen.next(), expected);
}
// And what it inserts comes to the phone.
await program.insert('68946_contact_list', [23412, 5]);
await comes(one, '68946_contact_list', [23412, 5]);
await page?.shows('contacts: [23412,5]');
// What is another's, a phone neither sees nor publishes.
const curious = await connect('JWT', phones['23412'], '68946_contact_list');
assert.deepEqual(curious.granted, [128]);
await publish(curious, '68946_contact_list', ['forged']);
await publish(one, '68946_contact_list', ['of its own']);
await comes(one, '68946_contact_list', ['of its own']);
await page?.close();
console.log('done');
process.exit(0);
