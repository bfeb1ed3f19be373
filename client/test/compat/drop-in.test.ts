// Guards the drop-in: programs of 0.0.8 do with it what they did, and each of 0.0.8's faults that docs/streams.md lists is gone.
// Every scenario runs with both clients, so the list is proven at the same time.
import { spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { beforeAll, describe, expect, it } from 'vitest';
import alone from '../../src/compat/index.js';
import whole from '../../src/index.js';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const clients: Record<string, string> = {};

beforeAll(async () => {
  const targets = { old: 'broker-client-0.0.8', now: here('../../src/index.ts') };
  for (const [name, target] of Object.entries(targets)) {
    const { outputFiles } = await build({
      entryPoints: [here('program.mjs')],
      alias: { 'broker-client': target },
      bundle: true,
      format: 'esm',
      platform: 'node',
      write: false,
    });
    clients[name] = outputFiles[0]?.text ?? '';
  }
});

/** What the test's server knows: the answer that it gives, and when the program has read from it. */
interface Exchange {
  response: ServerResponse;
  /** Resolves when the program has told of so many reads, or can tell of no more. */
  reads(count: number): Promise<void>;
}
type Answer = (exchange: Exchange) => void | Promise<void>;

/** What a program says with a client, when the server answers so. */
async function says(client: string, scenario: string, answer: Answer): Promise<unknown[][]> {
  const lines: unknown[][] = [];
  const told = new EventEmitter();
  const server = createServer((_, response) => {
    const reads = async (count: number) => {
      const ends = new AbortController();
      for (const name of ['close', 'error']) response.once(name, () => ends.abort());
      const countOf = (what: string) => lines.filter(([said]) => said === what).length;
      // 0.0.8 reads no more after some of its faults.
      while (countOf('open') < count && countOf('unhandled') === 0 && !ends.signal.aborted) {
        await once(told, 'line', { signal: ends.signal }).catch(() => undefined);
      }
    };
    void answer({ response, reads });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/sse`;
  const program = spawn(process.execPath, ['--input-type=module', '-', url, scenario], { stdio: ['pipe', 'pipe', 'inherit'] });
  program.stdin.end(clients[client]);
  for await (const line of createInterface(program.stdout)) {
    lines.push(JSON.parse(line) as unknown[]);
    told.emit('line');
  }
  server.closeAllConnections();
  server.close();
  return lines;
}

const head = (response: ServerResponse) => response.writeHead(200, { 'content-type': 'text/event-stream' });
const frame = (name: string, id: number, data: unknown) => `event:${name}\nid:${id}\ndata:${JSON.stringify(data)}\n\n`;

/** Sends pieces, each in a read of its own, and ends the answer. */
const pieces = (...parts: string[]): Answer => async ({ response, reads }) => {
  head(response);
  for (const [index, part] of parts.entries()) {
    response.write(part);
    await reads(index + 1);
  }
  response.end();
};

const calls = (lines: unknown[][]) => lines.filter(([what]) => what !== 'open');

describe.concurrent('the drop-in does what 0.0.8 does', () => {
  it.each<[string, string, Answer]>([
    ['one event after another', '', pieces(frame('a', 1, 1), frame('b', 2, { x: [] }))],
    ['several events in one read', '', pieces(frame('a', 1, 1) + frame('b', 2, 2) + frame('a', 3, 3))],
    ['an event in pieces', '', pieces('event:a\nid:', '1\nda', 'ta:1\n\n')],
    ['heartbeats', '', pieces(':\n', frame('a', 1, 1), `:\n${frame('a', 2, 2)}`)],
    ['a listener is replaced, and removed', 'listeners', pieces(frame('a', 1, 1) + frame('b', 2, 2))],
    ['close() in a handler', 'close', pieces(frame('a', 1, 1), frame('a', 2, 2), frame('a', 3, 3))],
  ])('%s', async (_, scenario, answer) => {
    const before = await says('old', scenario, answer);
    const now = await says('now', scenario, answer);
    expect(calls(now)).toEqual(calls(before));
    expect(calls(now).at(-1)).toEqual(['close', 2]);
  });

  it('tells of each read by onopen', async () => {
    const answer = pieces(frame('a', 1, 1), ':\n', frame('a', 2, 2));
    const opens = (lines: unknown[][]) => lines.filter(([what]) => what === 'open').length;
    expect(opens(await says('now', '', answer))).toBe(3);
    // One more at the end, which is one of its faults.
    expect(opens(await says('old', '', answer))).toBe(4);
  });
});

interface Fault {
  fault: string;
  scenario?: string;
  answer: Answer;
  old: unknown[][];
  now: unknown[][];
}

const closed = ['close', 2];
const faults: Fault[] = [
  {
    fault: 'a message that is split between its last two line feeds is lost in the next',
    answer: pieces('event:a\nid:1\ndata:1\n', `\n${frame('b', 2, 2)}`),
    old: [['message', 'a', '1event:bid:2data:2', '1'], closed],
    now: [['message', 'a', '1', '1'], ['message', 'b', '2', '2'], closed],
  },
  {
    fault: 'each byte of a name is taken for a character',
    answer: pieces(frame('größe', 1, 1)),
    old: [['message', 'grÃ¶Ã\u009fe', '1', '1'], closed],
    now: [['message', 'größe', '1', '1'], closed],
  },
  {
    fault: 'text that looks like a field is taken for one',
    answer: pieces(frame('a', 1, 'retry:5')),
    old: [['message', 'a', '"', '1'], closed],
    now: [['message', 'a', '"retry:5"', '1'], closed],
  },
  {
    fault: 'lines that end with CR LF are never complete',
    answer: pieces('event:a\r\nid:1\r\ndata:1\r\n\r\n'),
    old: [closed],
    now: [['message', 'a', '1', '1'], closed],
  },
  {
    fault: 'an event with the name of an array method throws, and ends the reading',
    answer: pieces(frame('map', 1, 1), frame('a', 2, 2)),
    old: [['message', 'map', '1', '1'], ['unhandled', expect.anything()]],
    now: [['message', 'map', '1', '1'], ['message', 'a', '2', '2'], closed],
  },
  {
    fault: 'a listener for the name "length" cannot be added',
    scenario: 'listener of another name',
    answer: pieces(frame('length', 1, 1)),
    old: [['uncaught', expect.stringContaining('array length')], ['message', 'length', '1', '1'], closed],
    now: [['message', 'length', '1', '1'], ['listener', '1'], closed],
  },
  {
    fault: 'what a handler throws ends the reading, and nothing is called any more',
    scenario: 'throws',
    answer: pieces(frame('a', 1, 1), frame('a', 2, 2)),
    old: [['message', 'a', '1', '1'], ['unhandled', 'of the page']],
    now: [['message', 'a', '1', '1'], ['uncaught', 'of the page'], ['message', 'a', '2', '2'], closed],
  },
  {
    fault: 'a refusal looks like a stream that was open and ended',
    answer: ({ response }) => void response.writeHead(401).end('{"error":"not valid","code":"unauthorized"}'),
    old: [['open', 1], ['open', 1], closed],
    now: [['console', 'not valid'], closed],
  },
  {
    fault: 'a connection that is cut is never told of',
    answer: async ({ response, reads }) => {
      head(response);
      response.write(frame('a', 1, 1));
      await reads(1);
      response.destroy();
    },
    old: [['message', 'a', '1', '1'], ['unhandled', 'terminated']],
    now: [['message', 'a', '1', '1'], ['console', 'terminated'], closed],
  },
  {
    fault: 'a server that cannot be reached is an unhandled rejection, and onclose is not called',
    answer: ({ response }) => void response.destroy(),
    old: [['console', 'fetch failed'], ['unhandled', 'fetch failed']],
    now: [['console', 'fetch failed'], closed],
  },
  {
    fault: 'close() throws before the answer has come, and the stream stays open',
    scenario: 'close at once',
    answer: pieces(frame('a', 1, 1)),
    old: [['thrown', expect.stringContaining("'cancel'")], ['message', 'a', '1', '1'], closed],
    now: [closed],
  },
];

describe.concurrent.each(faults)('$fault', ({ scenario = '', answer, old, now }) => {
  // Reads are told of too, which counts only for a refusal.
  const relevant = (lines: unknown[][]) => (old.some(([what]) => what === 'open') ? lines : calls(lines));

  it('in 0.0.8', async () => {
    expect(relevant(await says('old', scenario, answer))).toEqual(old);
  });

  it('not in the drop-in', async () => {
    expect(relevant(await says('now', scenario, answer))).toEqual(now);
  });
});

it('is the default export of the package and of its entry point of its own', () => {
  expect(whole).toBe(alone);
});
