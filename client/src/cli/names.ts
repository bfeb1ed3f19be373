// Groups event names: `todo/1` and `todo/2` become the pattern `todo/${string}`.
import { alike, byCode, merge, nothing, type Shape, see } from './infer.js';

/** The place of a part of a name that may be anything. */
const ANY = Symbol('any');
type Part = string | typeof ANY;

/** A name, or a pattern of names, with the type of their data. */
export interface Entry {
  parts: Part[];
  shape: Shape;
}

interface Node {
  shape?: Shape;
  children: Map<string, Node>;
}

export interface Latest {
  event: string;
  data: unknown;
}

/**
 * The entries of a list of latest events, sorted. Every event has an entry that its name matches, and its data is of the type of
 * every entry that its name matches: TypeScript gives the intersection of them.
 */
export function entries(events: Latest[]): Entry[] {
  const root: Node = { children: new Map() };
  for (const { event, data } of events) {
    let node = root;
    for (const segment of segments(event)) {
      let child = node.children.get(segment);
      if (!child) node.children.set(segment, (child = { children: new Map() }));
      node = child;
    }
    see((node.shape ??= nothing()), data);
  }
  const found = walkRoot(root);
  const sorted = found.sort((a, b) => byCode(text(a.parts), text(b.parts)));
  for (const entry of sorted) entry.shape = nothing();
  const tests = sorted.map((entry) => ({ entry, test: matcher(entry.parts) }));
  // Each event counts for every pattern that its name matches, so a pattern allows all that one inside of it allows: otherwise
  // the interface would not compile.
  for (const { event, data } of events) {
    for (const { entry, test } of tests) if (test.test(event)) see(entry.shape, data);
  }
  return sorted;
}

/** `room/1/alice` is `room/`, `1/`, `alice`. */
const segments = (name: string) => name.match(/[^/:]*[/:]|[^/:]+$/g) ?? [name];

/** Whether a segment looks as if a program had made it, or names a user. */
const isId = (segment: string) => /\d/.test(segment) || segment.startsWith('@') || segment.length > 24;

/** Names without a `/` or `:` are names of their own, unless several differ in a number: `item1`, `item2`. */
function walkRoot(root: Node): Entry[] {
  const groups = new Map<string, { end: string; nodes: [string, Node][] }>();
  for (const [segment, node] of root.children) {
    const end = /[/:]$/.exec(segment)?.[0] ?? '';
    const stem = segment.startsWith('@') ? '@' : /^([^\d]+)\d/.exec(segment)?.[1];
    const key = stem === undefined ? `=${segment}` : `${end}${stem}`;
    const group = groups.get(key) ?? { end, nodes: [] };
    group.nodes.push([segment, node]);
    groups.set(key, group);
  }
  return [...groups].flatMap(([key, { end, nodes }]) => {
    const [first] = nodes as [[string, Node]];
    const isPattern = !key.startsWith('=') && (nodes.length > 1 || first[0].startsWith('@'));
    if (!isPattern) return nodes.flatMap(([segment, node]) => walk(node, [segment]));
    return walk(together(nodes.map(([, node]) => node)), [key.slice(end.length), ANY, end]);
  });
}

function walk(node: Node, before: Part[]): Entry[] {
  const here = node.shape ? [{ parts: before, shape: node.shape }] : [];
  const children = [...node.children].sort(([a], [b]) => byCode(a, b));
  if (children.length === 0) return here;
  if (!areItems(children)) return [...here, ...children.flatMap(([segment, child]) => walk(child, [...before, segment]))];
  // Names that end here and names that go on are two groups, whatever separates them.
  const ends = new Map<string, Node[]>();
  for (const [segment, child] of children) {
    const end = /[/:]$/.exec(segment)?.[0] ?? '';
    ends.set(end, [...(ends.get(end) ?? []), child]);
  }
  const groups = [...ends].flatMap(([end, nodes]) => walk(together(nodes), [...before, ANY, end]));
  return [...here, ...groups];
}

/** Whether the segments below a prefix are items of a list: ids, or a single one, or things that look alike. */
function areItems(children: [string, Node][]): boolean {
  if (children.length === 1 || children.some(([segment]) => isId(segment))) return true;
  const [first, ...rest] = children.map(([, node]) => whole(node));
  return rest.every((shape) => alike(first as Shape, shape));
}

/** All that is known of the names that begin with this one. */
function whole(node: Node): Shape {
  const all = nothing();
  if (node.shape) merge(all, node.shape);
  for (const child of node.children.values()) merge(all, whole(child));
  return all;
}

function together(nodes: Node[]): Node {
  const all: Node = { children: new Map() };
  for (const node of nodes) {
    if (node.shape) merge((all.shape ??= nothing()), node.shape);
    for (const [segment, child] of node.children) {
      const known = all.children.get(segment);
      all.children.set(segment, known ? together([known, child]) : child);
    }
  }
  return all;
}

/** Tells whether TypeScript takes a name for one of this pattern. */
function matcher(parts: Part[]): RegExp {
  const escaped = parts.map((part) => (part === ANY ? '[^]*' : part.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')));
  return new RegExp(`^${escaped.join('')}$`, 'u');
}

/** Whether it stands for names that are not known. */
export const isPattern = ({ parts }: Entry): boolean => parts.includes(ANY);

/** The parts of the pattern that are known, from which its type gets a name. */
export const words = ({ parts }: Entry): string[] => parts.filter((part): part is string => part !== ANY);

const text = (parts: Part[]) => parts.map((part) => (part === ANY ? '${string}' : part)).join('');

/** Writes the entry as a member of an interface, without its type. */
export function member({ parts }: Entry): string {
  if (!parts.includes(ANY)) return JSON.stringify(text(parts));
  const escaped = parts.map((part) => (part === ANY ? '${string}' : part.replace(/[\\`]|\$(?=\{)/g, '\\$&')));
  return `[name: \`${escaped.join('')}\`]`;
}
