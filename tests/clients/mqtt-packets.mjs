// Sequences of packets as npm's mqtt-packet writes and reads them, which is in most clients of Node: what the server answers is compared
// packet by packet. It is started as `node mqtt-packets.mjs <host:port> <level> <username> <password> <prefix of its topics>`.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as dial } from 'node:net';
import mqtt from 'mqtt-packet';

const [address, level, username, password, prefix] = process.argv.slice(2);
const [host, port] = address.split(':');
const protocolVersion = Number(level);
const isFive = protocolVersion === 5;
const protocolId = protocolVersion === 3 ? 'MQIsdp' : 'MQTT';
const topic = (name) => prefix + name;

/** A connection that says packets, cut into pieces of so many bytes, and awaits packets. */
class Connection {
  came = [];
  isOver = false;
  constructor(piece = 1 << 20) {
    this.piece = piece;
    this.socket = dial({ host, port: Number(port), noDelay: true });
    const parser = mqtt.parser({ protocolVersion });
    parser.on('packet', (packet) => this.came.push(packet));
    parser.on('error', (error) => this.came.push(error));
    this.socket.on('data', (data) => {
      parser.parse(data);
      this.woken?.();
    });
    this.socket.on('close', () => {
      this.isOver = true;
      this.woken?.();
    });
    this.socket.on('error', () => {});
  }
  async say(...packets) {
    const bytes = Buffer.concat(packets.map((packet) => (Buffer.isBuffer(packet) ? packet : mqtt.generate(packet, { protocolVersion }))));
    for (let at = 0; at < bytes.length; at += this.piece) {
      if (!this.socket.write(bytes.subarray(at, at + this.piece))) await once(this.socket, 'drain');
    }
  }
  async next() {
    while (this.came.length === 0 && !this.isOver) await new Promise((resolve) => (this.woken = resolve));
    return this.came.shift();
  }
  /** The next packet has these fields, whatever others it has. */
  async hears(expected) {
    const packet = await this.next();
    for (const [field, value] of Object.entries(expected)) {
      const came = packet?.[field];
      assert.deepEqual(Buffer.isBuffer(came) ? came.toString() : came, value, `${field} of ${JSON.stringify(packet)}, not ${JSON.stringify(expected)}`);
    }
    return packet;
  }
  /** Everything that was said has been answered. */
  async isSettled() {
    await this.say({ cmd: 'pingreq' });
    await this.hears({ cmd: 'pingresp' });
  }
  /** The server ends the connection, of MQTT 5 with this reason. */
  async ends(reasonCode) {
    if (isFive && reasonCode !== undefined) await this.hears({ cmd: 'disconnect', reasonCode });
    assert.equal(await this.next(), undefined);
  }
}

const hello = (clientId, more = {}) => ({
  cmd: 'connect', protocolId, protocolVersion, clean: true, clientId, keepalive: 60, username, password: Buffer.from(password), ...more,
});
async function connected(clientId, piece) {
  const connection = new Connection(piece);
  await connection.say(hello(clientId));
  const connack = await connection.hears({ cmd: 'connack', sessionPresent: false, [isFive ? 'reasonCode' : 'returnCode']: 0 });
  if (isFive) assert.ok(connack.properties.receiveMaximum > 0 && connack.properties.maximumPacketSize > 0);
  return connection;
}
const publish = (name, payload, qos, messageId, more = {}) => ({
  cmd: 'publish', topic: name && topic(name), payload, qos, messageId, dup: false, retain: false, ...more,
});
const subscribe = (messageId, ...subscriptions) => ({
  cmd: 'subscribe', messageId, subscriptions: subscriptions.map(([name, qos, more]) => ({ topic: topic(name), qos, ...more })),
});

// Byte by byte, and all at once with what comes after CONNECT.
for (const piece of [1, 1 << 20]) {
  const connection = new Connection(piece);
  await connection.say(
    hello('pieces'),
    subscribe(1, ['a/+', 1], ['a/b', 2], ['c', 0]),
    publish('a/b', 'one', 1, 2),
    publish('c', 'two', 0),
    { cmd: 'pingreq' },
  );
  await connection.hears({ cmd: 'connack', sessionPresent: false, [isFive ? 'reasonCode' : 'returnCode']: 0 });
  // Both filters want the first message, and it comes once. Acknowledgements, and the answer to the ping, may come between.
  const rest = [];
  for (let index = 0; index < 5; index += 1) rest.push(await connection.next());
  assert.deepEqual(rest.map((packet) => packet.cmd).sort(), ['pingresp', 'puback', 'publish', 'publish', 'suback']);
  assert.deepEqual(rest.find((packet) => packet.cmd === 'suback').granted, [1, 2, 0]);
  const [one, two] = rest.filter((packet) => packet.cmd === 'publish');
  assert.deepEqual([one.topic, `${one.payload}`, one.qos, two.topic, `${two.payload}`, two.qos], [topic('a/b'), 'one', 1, topic('c'), 'two', 0]);
  await connection.say({ cmd: 'puback', messageId: one.messageId }, { cmd: 'disconnect' });
  await connection.ends();
}

// QoS 2, step by step, both ways; a packet that is sent again before its release is one message.
{
  const [here, there] = [await connected('here'), await connected('there')];
  await here.say(subscribe(7, ['two', 2]));
  await here.hears({ cmd: 'suback', messageId: 7, granted: [2] });
  await there.say(publish('two', 'once', 2, 5), publish('two', 'once', 2, 5, { dup: true }));
  await there.hears({ cmd: 'pubrec', messageId: 5 });
  await there.hears({ cmd: 'pubrec', messageId: 5 });
  await there.say({ cmd: 'pubrel', messageId: 5 });
  await there.hears({ cmd: 'pubcomp', messageId: 5 });
  const { messageId } = await here.hears({ cmd: 'publish', topic: topic('two'), payload: 'once', qos: 2, dup: false });
  await here.say({ cmd: 'pubrec', messageId });
  await here.hears({ cmd: 'pubrel', messageId });
  await here.say({ cmd: 'pubcomp', messageId });
  await here.isSettled();
  // Unsubscribed, nothing comes; MQTT 5 is told what was not there.
  await here.say({ cmd: 'unsubscribe', messageId: 8, unsubscriptions: [topic('two'), topic('never')] });
  await here.hears({ cmd: 'unsuback', messageId: 8, ...(isFive ? { granted: [0, 17] } : {}) });
  await there.say(publish('two', 'unheard', 1, 6));
  await there.hears({ cmd: 'puback', messageId: 6 });
  await here.isSettled();
  // A filter that is none is refused, and the others are not.
  await here.say(subscribe(9, ['a', 1]), Buffer.concat([Buffer.from([0x82]), filters(10, ['a', 'b/#/c'])]));
  await here.hears({ cmd: 'suback', messageId: 9, granted: [1] });
  await here.hears({ cmd: 'suback', messageId: 10, granted: [0, isFive ? 0x8f : 0x80] });
  // What nobody asked for ends nothing.
  await here.say({ cmd: 'puback', messageId: 999 });
  await here.isSettled();
}

/** The rest of a SUBSCRIBE with filters that mqtt-packet would not write. */
function filters(id, names) {
  const parts = names.map((name) => {
    const text = Buffer.from(topic(name));
    return Buffer.concat([Buffer.from([text.length >> 8, text.length & 255]), text, Buffer.from([0])]);
  });
  const body = Buffer.concat([Buffer.from([0, id]), Buffer.from(isFive ? [0] : []), ...parts]);
  assert.ok(body.length < 128);
  return Buffer.concat([Buffer.from([body.length]), body]);
}

if (isFive) {
  const [here, there] = [await connected('here'), await connected('there')];
  await here.say({ ...subscribe(1, ['#', 0]), properties: { subscriptionIdentifier: 3 } });
  await here.hears({ cmd: 'suback', granted: [0] });
  await there.say(publish('alias', '1', 1, 1, { properties: { topicAlias: 1 } }), publish('', '2', 1, 2, { properties: { topicAlias: 1 } }));
  for (const [messageId, payload] of [[1, '1'], [2, '2']]) {
    await there.hears({ cmd: 'puback', messageId, reasonCode: 0 });
    const { properties } = await here.hears({ cmd: 'publish', topic: topic('alias'), payload });
    assert.equal(properties.subscriptionIdentifier, 3);
  }
  await there.say({ cmd: 'pubrel', messageId: 99 });
  await there.hears({ cmd: 'pubcomp', messageId: 99, reasonCode: 0x92 });
}

// What is no MQTT ends the connection.
for (const [said, reason] of [
  [hello('again'), 0x82],
  [Buffer.from([0x00, 0x00]), 0x81],
  [Buffer.from([0xc1, 0x00]), 0x81],
  [Buffer.from([0x80, 0x02, 0x00, 0x01]), 0x81],
  [Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 0x7f]), 0x81],
  [Buffer.from([0x36, 0x05, 0x00, 0x01, 0x61, 0x00, 0x01]), 0x81],
]) {
  const connection = await connected('broken');
  await connection.say(said);
  await connection.ends(reason);
}
const early = new Connection();
await early.say(publish('early', 'x', 1, 1));
await early.ends();
console.log('done');
process.exit(0);
