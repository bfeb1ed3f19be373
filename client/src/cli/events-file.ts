// Writes the file of types from a list of latest events: the same bytes for the same events, in any order.
import { print, printObject, property } from './infer.js';
import { type Entry, entries, isPattern, type Latest, member, words } from './names.js';

const HEADER = `// Made by "broker-client types" from the latest events. Do not edit it: run the command again.
`;

/** Names that cannot be declared, or mean something else. */
const TAKEN = ['Events', 'Record', 'String', 'Number', 'Boolean', 'Object', 'Array', 'Symbol', 'Function'];

export interface EventsFile {
  text: string;
  names: number;
  patterns: number;
}

export function eventsFile(events: Latest[]): EventsFile {
  const taken = new Set(TAKEN);
  const interfaces: string[] = [];
  const found = entries(events);
  const members = found.map((entry) => {
    const { shape } = entry;
    const isObject = shape.objects > 0 && shape.scalars.size === 0 && !shape.elements;
    const object = isObject ? printObject(shape) : '';
    const key = isPattern(entry) ? member(entry) : property(words(entry).join(''));
    // An object without members has no name of its own.
    if (!object.startsWith('{')) return `  ${key}: ${print(shape, '  ')};\n`;
    const name = typeName(entry, taken);
    interfaces.push(`export interface ${name} ${object}\n`);
    return `  ${key}: ${name};\n`;
  });
  const list = `export interface Events {\n${members.join('')}}\n`;
  const patterns = found.filter(isPattern).length;
  return { text: [HEADER, list, ...interfaces].join('\n'), names: found.length - patterns, patterns };
}

/** `todo/${string}` is `Todo`; a name that is taken gets a number. */
function typeName(entry: Entry, taken: Set<string>): string {
  const letters = words(entry).join(' ').split(/[^A-Za-z0-9]+/).filter(Boolean);
  const pascal = letters.map((word) => word[0]?.toUpperCase() + word.slice(1)).join('');
  const kind = words(entry)[0] === '@' ? 'Inbox' : 'Event';
  const base = /^[A-Za-z]/.test(pascal) && kind !== 'Inbox' ? pascal : kind + pascal;
  let name = base;
  for (let n = 2; taken.has(name); n += 1) name = `${base}${n}`;
  taken.add(name);
  return name;
}
