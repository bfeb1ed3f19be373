// Names and filters, as the server compares them.

/** More the server does not take. */
const MAX_ENTRIES = 1000;

/** Whether the filter stands for this name. */
export const matches = (filter: string, name: string): boolean =>
  filter.endsWith('*') ? name.startsWith(filter.slice(0, -1)) : filter === name;

/** Whether everything that the entry stands for is in the list. */
export const covers = (list: readonly string[], entry: string): boolean =>
  list.some((other) => other === entry || (other.endsWith('*') && entry.startsWith(other.slice(0, -1))));

/** What to ask the server for: a name with a comma can only be asked for by a prefix. */
export const toEntry = (nameOrFilter: string): string => {
  const comma = nameOrFilter.indexOf(',');
  return comma < 0 ? nameOrFilter : `${nameOrFilter.slice(0, comma)}*`;
};

/** Whether an event can have such a name. The server refuses a filter with any other, and all that is listened to with it. */
export const isPossible = (entry: string): boolean =>
  /^[^\0-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]+$/u.test(entry.trim()) &&
  // Some readers of streams would take these for a field. A prefix may end in the middle of another word.
  !/(data|event|id|retry):(.*[^*])?$/.test(entry) &&
  encodeURIComponent(entry).replace(/%../g, '-').length <= 256;

/** The shortest list that asks for all of these entries, always in the same order. */
export function union(entries: Iterable<string>): string[] {
  const list = [...new Set(entries)].filter(isPossible).sort();
  const prefixes = list.filter((entry) => entry.endsWith('*'));
  const kept = list.filter((entry) => !covers(prefixes.filter((other) => other !== entry), entry));
  return kept.length > MAX_ENTRIES ? ['*'] : kept;
}
