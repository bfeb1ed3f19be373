// Infers the TypeScript type of JSON values: what is said of a value is true of every value that was seen.

/** What is known of all values that were seen in one place. */
export interface Shape {
  /** `string`, `number`, `boolean` and `null`, as far as they were seen. */
  scalars: Set<string>;
  /** The elements of all arrays that were seen. */
  elements?: Shape;
  /** The members of all objects that were seen. */
  members?: Map<string, { shape: Shape; seen: number }>;
  /** How many objects were seen. A member that was seen less often is optional. */
  objects: number;
}

export const nothing = (): Shape => ({ scalars: new Set(), objects: 0 });

/** Adds one value to what is known. */
export function see(shape: Shape, value: unknown): void {
  if (Array.isArray(value)) {
    shape.elements ??= nothing();
    for (const element of value) see(shape.elements, element);
  } else if (typeof value === 'object' && value !== null) {
    shape.objects += 1;
    shape.members ??= new Map();
    for (const [key, member] of Object.entries(value)) {
      let known = shape.members.get(key);
      if (!known) shape.members.set(key, (known = { shape: nothing(), seen: 0 }));
      known.seen += 1;
      see(known.shape, member);
    }
  } else {
    shape.scalars.add(value === null ? 'null' : typeof value);
  }
}

/** Adds all that is known from one place to what is known of another. */
export function merge(into: Shape, from: Shape): void {
  for (const scalar of from.scalars) into.scalars.add(scalar);
  if (from.elements) merge((into.elements ??= nothing()), from.elements);
  into.objects += from.objects;
  for (const [key, { shape, seen }] of from.members ?? []) {
    into.members ??= new Map();
    let known = into.members.get(key);
    if (!known) into.members.set(key, (known = { shape: nothing(), seen: 0 }));
    known.seen += seen;
    merge(known.shape, shape);
  }
  if (from.objects) into.members ??= new Map();
}

/** Whether two shapes look like the same kind of thing: items of one list, rather than two settings. */
export function alike(one: Shape, other: Shape): boolean {
  const kinds = ({ scalars, elements, objects }: Shape) =>
    [...scalars].filter((scalar) => scalar !== 'null').concat(elements ? 'array' : [], objects ? 'object' : []).sort().join();
  const [first, second] = [kinds(one), kinds(other)];
  if (!first || !second) return true; // only null was seen
  if (first !== second) return false;
  if (!one.members?.size || !other.members?.size) return true;
  return [...one.members.keys()].some((key) => other.members?.has(key));
}

/** Writes a shape as TypeScript, in the same way whatever was seen first. */
export function print(shape: Shape, indent = ''): string {
  const parts: string[] = [];
  if (shape.members) parts.push(printObject(shape, indent));
  if (shape.elements) parts.push(printArray(shape.elements, indent));
  parts.push(...['string', 'number', 'boolean', 'null'].filter((scalar) => shape.scalars.has(scalar)));
  return parts.join(' | ') || 'unknown';
}

/** Writes the object part of a shape. */
export function printObject(shape: Shape, indent = ''): string {
  const members = [...(shape.members ?? [])].sort(([a], [b]) => byCode(a, b));
  if (members.length === 0) return 'Record<string, never>';
  const deeper = `${indent}  `;
  const lines = members.map(([key, member]) => {
    const optional = member.seen < shape.objects ? '?' : '';
    return `${deeper}${property(key)}${optional}: ${print(member.shape, deeper)};\n`;
  });
  return `{\n${lines.join('')}${indent}}`;
}

function printArray(elements: Shape, indent: string): string {
  const text = print(elements, indent);
  // A union needs brackets of its own.
  const kinds = elements.scalars.size + (elements.members ? 1 : 0) + (elements.elements ? 1 : 0);
  return kinds > 1 ? `(${text})[]` : `${text}[]`;
}

/** Writes the name of a property, with quotes where it needs them. */
export const property = (name: string): string => (/^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name));

/** Compares by UTF-16 code units, so that no locale changes the order. */
export const byCode = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
