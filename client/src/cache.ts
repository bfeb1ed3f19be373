// The latest events: what the stream has told, and over it what is not acknowledged yet.

import { covers, isPossible, matches, toEntry } from './filter.js';
import type { SourceMessage } from './source.js';
import { call, createEmitter, createStore, type Emitter, type Writable } from './store.js';
import type { Change, Item, Overlay, Present, Stop } from './types.js';

export interface Entry {
  readonly item: Item;
  /** The present stream has told it. The others are gone if they do not come again. */
  isConfirmed: boolean;
  /** Listeners have been told. They are not told what an earlier start has left, or a server has rendered. */
  isTold: boolean;
}

interface Shown {
  /** Undefined for a removal. */
  readonly item: Item | undefined;
  /** The id of the acknowledgement. */
  until?: string;
}

/** Lists that nobody watches are remembered too, so that one that is read twice is the same; so many at most. */
const MAX_LISTS = 100;

/** The list of a name or filter. */
interface List {
  readonly filter: string;
  items: readonly Item[] | undefined;
  readonly changes: Emitter<[]>;
}

export interface Cache {
  take(message: SourceMessage): void;
  latest(name: string): Item | undefined;
  /** What is there without what is pending. */
  entry(name: string): Entry | undefined;
  all(filter: string): readonly Item[];
  /** Calls the listener after each change of a name or of what a filter stands for. */
  watch(filter: string, listener: () => void): Stop;
  /** Calls the listener with the events that are there, then with each as it comes. */
  on(filter: string, listener: (change: Change) => void): Stop;
  /** Calls the listener with each change. `isUntold` ones are the end of what other listeners were not told. */
  onItem(listener: (change: Change, isUntold?: boolean) => void): Stop;
  /** Everything that is there, as messages. */
  snapshot(): SourceMessage[];
  readonly presence: Writable<readonly Present[]>;
  isReady(filter: string): boolean;
  /** Whether the stream has told everything of anything. */
  isSynced(): boolean;
  seed(events: readonly (Item | Change)[]): void;
  overlay(event: string, data: unknown, username: string, isRemoved?: boolean): Overlay;
  /** Forgets everything. */
  wipe(): void;
}

const freeze = ({ event, data, id, timestamp, username }: Item): Item => Object.freeze({ event, data, id, timestamp, username });
const byName = (a: { event: string }, b: { event: string }) => (a.event < b.event ? -1 : 1);

/** After so long a live stream will not bring what was acknowledged, in ms: its user may not read it. A stream that is dead is noticed before. */
const UNSEEN = 35_000;

/** `isWanted` tells whether the stream will bring a name. */
export function createCache(isWanted: (name: string) => boolean): Cache {
  const entries = new Map<string, Entry>();
  const overlays = new Map<string, Shown[]>();
  const lists = new Map<string, List>();
  /** Those of them that stand for more than one name. */
  const prefixes = new Set<List>();
  const { on: onItem, emit: tell } = createEmitter<[change: Change, isUntold?: boolean]>();
  const presence = createStore<readonly Present[]>([]);
  let people = new Map<string, Present>();
  /** Those who are told since the stream was opened, until it is in sync. */
  let crowd: Map<string, Present> | undefined;
  /** The filter of which everything has come. */
  let complete: readonly string[] = [];
  /** How far the stream has come. */
  let position = '';
  let isLive = false;
  let changed = new Set<List>();

  function latest(name: string): Item | undefined {
    const shown = overlays.get(name)?.at(-1);
    return shown ? shown.item : entries.get(name)?.item;
  }

  /** Tells those who look at a name, once for everything that comes at the same time. */
  function touch(name: string) {
    const mark = (list: List) => {
      list.items = undefined;
      if (!changed.size) queueMicrotask(flush);
      changed.add(list);
    };
    const list = lists.get(name);
    if (list) mark(list);
    for (const list of prefixes) if (matches(list.filter, name)) mark(list);
  }

  function listOf(filter: string): List {
    let list = lists.get(filter);
    if (!list) {
      list = { filter, items: undefined, changes: createEmitter() };
      if (lists.size > MAX_LISTS) for (const other of lists.values()) if (!other.changes.isUsed()) forget(other);
      lists.set(filter, list);
      if (filter.endsWith('*')) prefixes.add(list);
    }
    return list;
  }

  function forget(list: List) {
    lists.delete(list.filter);
    prefixes.delete(list);
  }

  /** What lies under a pending value is not seen. */
  function touchBase(name: string) {
    if (!overlays.has(name)) touch(name);
  }

  function flush() {
    const all = [...changed];
    changed = new Set();
    for (const list of all) list.changes.emit();
  }

  function forgetEntry(name: string) {
    entries.delete(name);
    touchBase(name);
  }

  function drop({ item, isTold }: Entry) {
    forgetEntry(item.event);
    tell({ ...item, data: null, removed: true }, !isTold);
  }

  function apply(change: Change) {
    const { event, id } = change;
    const entry = entries.get(event);
    if (change.transient) {
      tell(change);
    } else if (!entry || !entry.isConfirmed || id > entry.item.id) {
      const isNew = entry?.item.id !== id;
      if (change.removed) entries.delete(event);
      else entries.set(event, { item: isNew ? freeze(change) : entry!.item, isConfirmed: true, isTold: true });
      if (isNew && (entry || !change.removed)) touchBase(event);
      if (change.removed ? entry : isNew || !entry!.isTold) tell(change, change.removed && !entry!.isTold);
    }
    reach(id);
    settle(event);
  }

  function reach(id: string) {
    if (id > position) position = id;
  }

  /** Takes away what the stream has overtaken, and what was asked for before that: it must not be seen again. */
  function settle(name: string) {
    // The stream does not bring a name that nobody listens to.
    const upTo = !isWanted(name) ? '9' : isReady(name) ? position : '';
    keepShown(name, (shown) => shown.slice(shown.map(({ until }) => !!until && until <= upTo).lastIndexOf(true) + 1));
  }

  function keepShown(name: string, keep: (shown: Shown[]) => Shown[]) {
    const shown = overlays.get(name) ?? [];
    const left = keep(shown);
    if (left.length) overlays.set(name, left);
    else overlays.delete(name);
    if (left.at(-1) !== shown.at(-1)) touch(name);
  }

  function synced(id: string, events: readonly string[]) {
    reach(id);
    complete = events;
    for (const entry of [...entries.values()]) {
      const { item, isConfirmed } = entry;
      // What was there before the stream stays until it is asked for.
      if (covers(events, item.event) === isConfirmed) continue;
      // It was not told again, so it is gone; or nobody wants it any more, and it is still there.
      if (isConfirmed) forgetEntry(item.event);
      else drop(entry);
    }
    if (crowd) {
      people = crowd;
      crowd = undefined;
      showPeople();
    }
    [...overlays.keys()].forEach(settle);
  }

  function showPeople() {
    presence.set(Object.freeze([...people.values()].sort((a, b) => (a.username < b.username ? -1 : 1))));
  }

  function isReady(filter: string) {
    // All that there can be has come of a name that nothing can have.
    return covers(complete, toEntry(filter)) || !isPossible(filter);
  }

  function take(message: SourceMessage) {
    switch (message.kind) {
      case 'event':
        return apply(message.change);
      case 'fresh':
        position = '';
        // After a reset, what was acknowledged may be of another time.
        if (message.reason) [...overlays.keys()].forEach((name) => keepShown(name, (shown) => shown.filter(({ until }) => !until)));
        for (const entry of entries.values()) entry.isConfirmed = false;
        return;
      case 'left': {
        const entry = entries.get(message.event);
        if (entry) drop(entry);
        return;
      }
      case 'synced':
        return synced(message.id, message.events);
      case 'crowd':
        crowd = new Map();
        return;
      case 'online': {
        const { username, present } = message;
        const list = crowd ?? people;
        if (present) list.set(username, present);
        else list.delete(username);
        if (!crowd) showPeople();
        return;
      }
      case 'state':
        isLive = message.connection.state === 'live';
        if (message.connection.state === 'idle') {
          complete = [];
          [...overlays.keys()].forEach(settle);
          if (people.size) {
            people.clear();
            showPeople();
          }
        }
    }
  }

  const collect = (filter: string) => {
    const names = new Set([...entries.keys(), ...overlays.keys()]);
    return [...names].filter((name) => matches(filter, name)).flatMap((name) => latest(name) ?? []).sort(byName);
  };

  return {
    take,
    latest,
    entry: (name) => entries.get(name),
    all: (filter) => (listOf(filter).items ??= Object.freeze(collect(filter))),
    watch: (filter, listener) => listOf(filter).changes.on(listener),
    on(filter, run) {
      let stop: Stop | undefined;
      let isOver = false;
      queueMicrotask(() => {
        const there = [...entries.values()].filter(({ item, isTold }) => isTold && matches(filter, item.event));
        for (const { item } of there.sort((a, b) => (a.item.id < b.item.id ? -1 : 1))) isOver || call(run, item);
        if (!isOver) stop = onItem((change, isUntold) => !isUntold && matches(filter, change.event) && run(change));
      });
      return () => {
        isOver = true;
        stop?.();
      };
    },
    onItem,
    snapshot() {
      const confirmed = [...entries.values()].filter((entry) => entry.isConfirmed);
      return [
        { kind: 'fresh' },
        { kind: 'crowd' },
        ...[...people].map(([username, present]) => ({ kind: 'online', username, present }) as const),
        ...confirmed.map(({ item }) => ({ kind: 'event', change: item }) as const),
        { kind: 'synced', id: position, events: complete },
      ];
    },
    presence,
    isReady,
    isSynced: () => complete.length > 0,
    seed(events) {
      for (const change of events) {
        const { event } = change;
        if (entries.has(event) || isReady(event) || 'removed' in change || 'transient' in change) continue;
        entries.set(event, { item: freeze(change), isConfirmed: false, isTold: false });
        touch(event);
      }
    },
    overlay(event, data, username, isRemoved) {
      const base = entries.get(event)?.item;
      const item = isRemoved
        ? undefined
        : Object.freeze({ event, data, id: base?.id ?? '', timestamp: Date.now(), username, pending: true as const });
      const shown: Shown = { item };
      overlays.set(event, [...(overlays.get(event) ?? []), shown]);
      touch(event);
      const refused = () => keepShown(event, (all) => all.filter((other) => other !== shown));
      const giveUp = () => {
        if (!overlays.get(event)?.includes(shown)) return;
        const timer = setTimeout(() => {
          if (isLive) refused();
          giveUp();
        }, UNSEEN);
        // A program in Node does not stay for it.
        (timer as { unref?(): void }).unref?.();
      };
      return {
        accepted(id) {
          shown.until = id;
          settle(event);
          giveUp();
        },
        refused,
      };
    },
    wipe() {
      const names = [...entries.keys(), ...overlays.keys()];
      entries.clear();
      overlays.clear();
      people.clear();
      crowd = undefined;
      complete = [];
      position = '';
      names.forEach(touch);
      showPeople();
    },
  };
}
