// The parser of event streams gives the same however the bytes are cut into pieces.

import { expect, test } from 'vitest';
import { createParser } from '../src/parser.js';
import { startServer } from './server.js';

type Message = [event: string, data: string, id: string];

/** What is parsed of these pieces of bytes. */
function parsed(pieces: Uint8Array[]): Message[] {
  const seen: Message[] = [];
  const decoder = new TextDecoder();
  const parse = createParser((...message) => seen.push(message));
  for (const piece of pieces) parse(decoder.decode(piece, { stream: true }));
  return seen;
}

/** Every cut into two pieces, into pieces of one byte, and with empty pieces between. */
function tryEverySplit(text: string | Uint8Array, expected: Message[]) {
  const bytes = typeof text === 'string' ? new TextEncoder().encode(text) : text;
  for (let at = 0; at <= bytes.length; at++) {
    expect(parsed([bytes.subarray(0, at), new Uint8Array(), bytes.subarray(at)]), `split at ${at}`).toEqual(expected);
  }
  expect(parsed([...bytes].map((byte) => Uint8Array.of(byte)))).toEqual(expected);
}

const lines = [
  ':',
  'event:news',
  'id:0000000000000001478353',
  'data:{"text":"Grüße, 日本 😀"}',
  '',
  ': a comment with spaces',
  'data: one',
  'data:  two',
  'data',
  '',
  'event: with space',
  '',
  'id: 7\u0000',
  'retry: 5',
  'nothing',
  'data:',
  '',
  'data:the last, which is cut off',
  '',
];
const expected: Message[] = [
  ['news', '{"text":"Grüße, 日本 😀"}', '0000000000000001478353'],
  ['message', 'one\n two\n', '0000000000000001478353'],
  ['message', '', '0000000000000001478353'],
];

for (const [name, feed] of [
  ['LF', '\n'],
  ['CR LF', '\r\n'],
  ['CR', '\r'],
] as const) {
  test(`a stream with lines that end with ${name} is read alike at every split position, with a BOM or without`, () => {
    tryEverySplit(lines.join(feed), expected);
    tryEverySplit('\uFEFF' + lines.join(feed), expected);
  });
}

test('an XHR, which has taken the BOM as text, reads alike', () => {
  const seen: Message[] = [];
  const parse = createParser((...message) => seen.push(message));
  for (const letter of '\uFEFF' + lines.join('\r\n')) parse(letter);
  expect(seen).toEqual(expected);
});

test('a recorded stream of the server is read alike at every split position', async () => {
  const server = await startServer();
  try {
    await server.user('alice');
    const token = await server.token('alice');
    const data = { text: 'Grüße, 日本 😀\n"quoted"', long: 'x'.repeat(300) };
    for (const event of ['a', 'b/1', 'grüße/日本']) await server.as(token, '/insert', { event, data });
    const abort = new AbortController();
    const reply = await fetch(`${server.url}/sse?marks=true&envelope=true`, {
      headers: { authorization: `Bearer ${token}` },
      signal: abort.signal,
    });
    const reader = reply.body!.getReader();
    const pieces: Uint8Array[] = [];
    let text = '';
    while (!text.includes('$synced') || !text.endsWith('\n\n')) {
      const { value } = await reader.read();
      pieces.push(value!);
      text += new TextDecoder().decode(value);
    }
    abort.abort();
    const whole = parsed(pieces);
    expect(whole.map(([event]) => event)).toEqual(['a', 'b/1', 'grüße/日本', '$synced']);
    expect(JSON.parse(whole[0]![1]).data).toEqual(data);
    tryEverySplit(Buffer.concat(pieces), whole);
    // As something between here and there might write it.
    const recorded = Buffer.concat(pieces).toString();
    for (const feed of ['\r\n', '\r']) tryEverySplit('\uFEFF' + recorded.replaceAll('\n', feed), whole);
  } finally {
    await server.stop();
  }
});

test('a line that comes in many pieces is not read again with each of them', () => {
  // Some hundred times as long as would be possible in the time of a test.
  const piece = 'x'.repeat(1024);
  let length = 0;
  const parse = createParser((_, data) => (length = data.length));
  parse('data:');
  for (let at = 0; at < 100_000; at++) parse(piece);
  parse('\n\n');
  expect(length).toBe(100_000 * piece.length);
});
