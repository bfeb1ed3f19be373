// Guards the types that are made from data: they are sound for every value that was seen, and the same bytes for the same events.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { eventsFile } from '../../src/cli/events-file.js';
import type { Latest } from '../../src/cli/names.js';

const made = (events: Record<string, unknown>) => {
  const list = Object.entries(events).map(([event, data]) => ({ event, data }));
  return eventsFile(list).text.split('\n').slice(2).join('\n');
};
const typeOf = (data: unknown) => /title: ([^]*?);\n}/.exec(made({ title: data }))?.[1];

describe('the type of data', () => {
  it.each([
    ['one', 'string'],
    [1.5e300, 'number'],
    [false, 'boolean'],
    [null, 'null'],
    [[], 'unknown[]'],
    [[1, 2], 'number[]'],
    [[1, 'two', null], '(string | number | null)[]'],
    [[[1], []], 'number[][]'],
    [[{ x: 1 }, { x: 2 }], '{\n    x: number;\n  }[]'],
    [[{ x: 1 }, { y: 2 }, 3], '({\n    x?: number;\n    y?: number;\n  } | number)[]'],
    [{}, 'Record<string, never>'],
  ])('%j', (data, type) => {
    expect(typeOf(data)).toBe(type);
  });

  it('is an interface for an object, with quotes where a key needs them', () => {
    expect(made({ title: { 'a-b': null, a: [], 'q"\n': 1, __proto__x: 1 } })).toBe(
      `export interface Events {
  title: Title;
}

export interface Title {
  __proto__x: number;
  a: unknown[];
  "a-b": null;
  "q\\"\\n": number;
}
`,
    );
  });
});

describe('the names of events', () => {
  it.each<[Record<string, unknown>, string]>([
    [{ 'todo/1': 1, 'todo/2-x': 2 }, '[name: `todo/${string}`]: number'],
    [{ 'todo/1': 1 }, '[name: `todo/${string}`]: number'],
    [{ 'typing/alice': true }, '[name: `typing/${string}`]: boolean'],
    [{ 'settings/theme': 'dark', 'settings/size': { x: 1 } }, '"settings/size": SettingsSize;\n  "settings/theme": string'],
    [{ 'profile/alice': { city: '' }, 'profile/bob': { city: '', age: 1 } }, '[name: `profile/${string}`]: Profile'],
    [
      { 'room/1': 'hello', 'room/1/alice/17': { text: '' } },
      '[name: `room/${string}`]: {\n    text: string;\n  } | string;\n  [name: `room/${string}/${string}/${string}`]: Room',
    ],
    [{ item1: 1, item2: 2, items: [] }, '[name: `item${string}`]: unknown[] | number;\n  items: unknown[]'],
    [{ 'user:1': 1, 'user:2': 2 }, '[name: `user:${string}`]: number'],
    [{ '@alice/1': 1, '@alice/x': 2 }, '[name: `@${string}/${string}`]: number'],
    [{ 'a`b${c}\\/1': 1 }, '[name: `a\\`b\\${c}\\\\/${string}`]: number'],
    [{ news: 1, 'the news': 2 }, 'news: number;\n  "the news": number'],
  ])('%j', (events, members) => {
    const list = /interface Events \{\n {2}([^]*?);\n\}/.exec(made(events))?.[1];
    expect(list).toBe(members);
  });

  it('are in the same order, and their types too, whatever came first', () => {
    const events = Object.entries<unknown>({ b: 1, a: { y: 1, x: [] }, 'c/2': { q: 1 }, 'c/1': null, 'c/x/1': 'x', 'A/1': 1, 'a/1': { z: 1 } });
    const text = eventsFile(events.map(([event, data]) => ({ event, data }))).text;
    for (let n = 0; n < events.length; n += 1) {
      events.push(events.shift() as [string, unknown]);
      const turned = events.map(([event, data]) => ({ event, data }));
      expect(eventsFile(turned).text).toBe(text);
      expect(eventsFile(turned.reverse()).text).toBe(text);
    }
  });
});

/** Numbers that look random and are the same in each run. */
function dice(seed: number) {
  let state = seed;
  return (sides: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * sides);
  };
}

function randomData(roll: (sides: number) => number, depth = 0): unknown {
  const kind = roll(depth > 2 ? 5 : 8);
  if (kind < 5) return [null, roll(2) === 0, roll(100), '', 'text'][kind];
  if (kind === 5) return Array.from({ length: roll(3) }, () => randomData(roll, depth + 1));
  const keys = Array.from({ length: roll(4) }, () => ['a', 'b', 'c-d', 'e f', '7', '8'][roll(6)] as string);
  return Object.fromEntries(keys.map((key) => [key, randomData(roll, depth + 1)]));
}

function randomEvents(roll: (sides: number) => number): Latest[] {
  const parts = ['a', 'b', '1', '2', 'x1', 'x2', '@alice', 'long-enough-to-be-an-id-of-something', 'é', '${a}', '`'];
  const names = Array.from({ length: 1 + roll(12) }, () =>
    Array.from({ length: 1 + roll(4) }, () => parts[roll(parts.length)]).join(roll(4) === 0 ? ':' : '/'),
  );
  return [...new Set(names)].map((event) => ({ event, data: randomData(roll) }));
}

it('every event is of the type of its name, by the compiler', () => {
  const folder = mkdtempSync(join(tmpdir(), 'broker-types-'));
  try {
    for (let seed = 0; seed < 150; seed += 1) {
      const events = randomEvents(dice(seed));
      writeFileSync(join(folder, `events${seed}.d.ts`), eventsFile(events).text);
      // A property of a type that allows less than the literal is an error, and so is a pattern that contradicts another.
      const uses = events.map(({ event, data }, n) => `export const e${n}: Events[${JSON.stringify(event)}] = ${JSON.stringify(data)};`);
      writeFileSync(join(folder, `use${seed}.ts`), `import type { Events } from './events${seed}.js';\n${uses.join('\n')}\n`);
    }
    const compilerOptions = { strict: true, noEmit: true, module: 'nodenext', target: 'es2022', types: [] };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions }));
    const tsc = resolve(import.meta.dirname, '../../node_modules/typescript/bin/tsc');
    let errors = '';
    try {
      execFileSync(process.execPath, [tsc, '-p', folder], { encoding: 'utf8' });
    } catch (error) {
      errors = (error as { stdout: string }).stdout;
    }
    expect(errors).toBe('');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
