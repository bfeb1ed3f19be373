// A client of MQTT over npm's mqtt, in both of the versions that programs have: it does what programs do with a broker, and says "done".
// It is started as `node mqtt.mjs <package> <url> <level> <username> <password> <prefix of its topics>`.
import assert from 'node:assert/strict';

const [name, url, level, username, password, prefix] = process.argv.slice(2);
const mqtt = (await import(name)).default;
const protocolVersion = Number(level);
const isFive = protocolVersion === 5;

/** Connects, and resolves when the client is let in. */
function connect(clientId, more = {}) {
  const protocolId = protocolVersion === 3 ? 'MQIsdp' : 'MQTT';
  const client = mqtt.connect(url, { clientId, username, password, protocolId, protocolVersion, reconnectPeriod: 0, ...more });
  client.came = [];
  client.on('message', (topic, payload, packet) => {
    client.came.push({ topic: topic.slice(prefix.length), payload: payload.toString('latin1'), packet });
    client.woken?.();
  });
  return new Promise((resolve, reject) => {
    client.on('connect', () => resolve(client));
    client.on('error', reject);
  });
}

const subscribe = (client, filter, options) =>
  new Promise((resolve, reject) =>
    client.subscribe(prefix + filter, options, (error, granted) => (error ? reject(error) : resolve(granted[0].qos))),
  );
/** With QoS above 0 it resolves when all of the handshake is over. */
const publish = (client, topic, payload, options = {}) =>
  new Promise((resolve, reject) =>
    client.publish(prefix + topic, payload, options, (error, packet) => (error ? reject(error) : resolve(packet))),
  );
async function next(client) {
  while (client.came.length === 0) await new Promise((resolve) => (client.woken = resolve));
  return client.came.shift();
}
async function comes(client, topic, payload, qos, retain) {
  const { packet, ...message } = await next(client);
  assert.deepEqual({ ...message, qos: packet.qos, retain: packet.retain }, { topic, payload, qos, retain });
  return packet;
}

const [here, there] = [await connect('here'), await connect('there')];
for (const qos of [0, 1, 2]) {
  assert.equal(await subscribe(here, `qos${qos}`, { qos }), qos);
  for (const of of [0, 1, 2]) {
    await publish(there, `qos${qos}`, `by ${of}`, { qos: of });
    await comes(here, `qos${qos}`, `by ${of}`, Math.min(qos, of), false);
  }
}

// A message that is retained comes to whoever subscribes later, until an empty one removes it.
await publish(there, 'home/kitchen/light', '{"on": true}', { qos: 1, retain: true });
await publish(there, 'home/kitchen/heard', 'only now', { qos: 1 });
await subscribe(here, 'home/+/light', { qos: 1 });
await comes(here, 'home/kitchen/light', '{"on": true}', 1, true);
await subscribe(there, 'home/#', { qos: 0 });
await comes(there, 'home/kitchen/light', '{"on": true}', 0, true);
await new Promise((resolve) => there.unsubscribe(`${prefix}home/#`, resolve));
await publish(there, 'home/kitchen/light', '', { qos: 1, retain: true });
await comes(here, 'home/kitchen/light', '', 1, false);
await publish(there, 'home/hall/lamp', 'not for this one', { qos: 1 });

// Bytes come as they are, and many of them.
await subscribe(here, 'bytes', { qos: 1 });
const bytes = Buffer.from(Array.from({ length: 50_000 }, (_, index) => index % 256));
await publish(there, 'bytes', bytes, { qos: 1 });
await comes(here, 'bytes', bytes.toString('latin1'), 1, false);

// A client that vanishes leaves its will.
await subscribe(here, 'gone', { qos: 1 });
const last = await connect('last', { will: { topic: `${prefix}gone`, payload: 'bye', qos: 1, retain: false } });
last.stream.destroy();
await comes(here, 'gone', 'bye', 1, false);

if (isFive) {
  await subscribe(here, 'asked', { qos: 1, nl: true, rap: true, properties: { subscriptionIdentifier: 7 } });
  await publish(here, 'asked', 'of its own', { qos: 1 });
  const properties = {
    messageExpiryInterval: 100,
    contentType: 'text/plain',
    responseTopic: `${prefix}answers`,
    correlationData: Buffer.from([0, 255]),
    payloadFormatIndicator: true,
    userProperties: { from: 'there' },
  };
  await publish(there, 'asked', 'what?', { qos: 1, retain: true, properties });
  const packet = await comes(here, 'asked', 'what?', 1, true);
  assert.ok(packet.properties.messageExpiryInterval <= 100);
  const shown = { ...packet.properties, messageExpiryInterval: 100, userProperties: { ...packet.properties.userProperties } };
  assert.deepEqual(shown, { ...properties, subscriptionIdentifier: 7 });
  await publish(there, 'asked', '', { qos: 1, retain: true });
  await comes(here, 'asked', '', 1, true);
  // Refusals are told.
  await assert.rejects(publish(there, '\u0007', 'x', { qos: 1 }), { code: 0x90 });
  await assert.rejects(subscribe(here, 'a/#/b', { qos: 1 }));
}

// Many in flight at once come all, and in order.
await subscribe(here, 'many', { qos: 2 });
for (const qos of [1, 2]) {
  await Promise.all(Array.from({ length: 300 }, (_, index) => publish(there, 'many', `${index}`, { qos })));
  for (let index = 0; index < 300; index += 1) await comes(here, 'many', `${index}`, qos, false);
}

// What is shared comes to one of those that share it, and all of it to those that are left.
const members = [await connect('member 1'), await connect('member 2')];
const share = (client) => client.subscribeAsync(`$share/group/${prefix}jobs/#`, { qos: 1 });
if (members[0].subscribeAsync) {
  for (const member of members) assert.equal((await share(member))[0].qos, 1);
  for (let index = 0; index < 20; index += 1) await publish(there, 'jobs/1', `${index}`, { qos: 1 });
  while (members[0].came.length + members[1].came.length < 20) await new Promise((resolve) => setTimeout(resolve, 5));
  const came = members.flatMap((member) => member.came.splice(0)).map(({ payload }) => Number(payload));
  assert.deepEqual(came.sort((a, b) => a - b), Array.from({ length: 20 }, (_, index) => index));
  await new Promise((resolve) => members[0].end(false, resolve));
  await publish(there, 'jobs/2', 'left', { qos: 1 });
  await comes(members[1], 'jobs/2', 'left', 1, false);
}
members.forEach((member) => member.end(true));

for (const client of [here, there]) {
  await new Promise((resolve) => client.end(false, resolve));
  assert.deepEqual(client.came, []);
}
console.log('done');
process.exit(0);
