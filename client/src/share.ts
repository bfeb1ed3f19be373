// One stream for all tabs of a user: the leader opens it for what all of them want, and hands on what it tells.
//
// Every tab keeps everything that was told. So each of them can lead as soon as the leader is gone, and resumes where the former
// stream was. A tab that joins is given the leader's cache first.

import { union } from './filter.js';
import type { OpenSource, Position, Source, SourceMessage, Want } from './source.js';
import { createTabs, type Tabs } from './tabs.js';
import type { Connection, Session, Stop, Store } from './types.js';

/** So long a new leader asks for what the former one did, in ms: other tabs have not said yet what they want. */
const INHERIT = 1500;

export interface ShareOptions {
  /** Tabs of one server and one user share. */
  url: string;
  session: Store<Session>;
  /** Finds out who is signed in. */
  ready(): Promise<unknown>;
  /** The cache as messages, for a tab that joins. */
  snapshot(): SourceMessage[];
}

export interface Sharing {
  open: OpenSource;
  /** Calls `onLead` while this tab leads. */
  lead(onLead: () => Stop): Stop;
}

/** What tabs say to each other. */
type Word =
  /** The leader: its stream goes on from here. */
  | { kind: 'begin'; at?: Position }
  /** A follower: what it wants, and whether it needs the cache. */
  | { kind: 'want'; want: Want; isNew: boolean }
  /** The leader, to one follower. */
  | { kind: 'cache'; to: string; messages: SourceMessage[] }
  /** The leader, to those that have joined. */
  | { kind: 'told'; messages: SourceMessage[] }
  /** A follower: try now. */
  | { kind: 'retry' };

const NOTHING: Want = { events: [], presence: false };

export function shareSource(own: OpenSource, { url, session, ready, snapshot }: ShareOptions): Sharing {
  /** Those who want to know whether this tab leads, and how each ends it. */
  const leads = new Map<() => Stop, Stop | undefined>();
  let isLeading = false;

  const open: OpenSource = (tell, from) => {
    let user: string | undefined;
    let tabs: Tabs | undefined;
    let mine = NOTHING;
    /** Where this tab is, whoever reads the stream. */
    let at = from;
    let state: SourceMessage | undefined;
    /** Whether the stream tells who is online. */
    let hasPresence = false;
    /** As a follower: whether what the leader tells goes on from what this tab has. */
    let isJoined = false;

    // What follows is the leader's.
    let source: Source | undefined;
    const wants = new Map<string, Want>();
    let inherited: Want | undefined;
    let isWhole = false;
    /** Tabs that wait until the cache is whole. */
    let newcomers: string[] = [];
    let batch: SourceMessage[] = [];

    const take = (message: SourceMessage) => {
      const { kind } = message;
      if (kind === 'event' && at && message.change.id > at.id) at = { ...at, id: message.change.id };
      else if (kind === 'synced') at = { id: message.id, events: message.events, stream: at?.stream };
      // Until the next `synced` there is nothing to go on from.
      else if (kind === 'fresh' || kind === 'left') at = undefined;
      else if (kind === 'crowd') hasPresence = true;
      else if (kind === 'state') {
        state = message;
        if (at) at = { ...at, stream: message.stream };
      }
      tell(message);
    };
    const isWanted = () => mine.events.length > 0 || mine.presence;
    /** Says how it stands while no stream is read, here or elsewhere. */
    const rest = () => {
      const { status, reason } = session.get();
      const isOut = status === 'signed-out';
      const state: Connection['state'] = !isWanted() ? 'idle' : isOut ? 'stopped' : 'connecting';
      take({ kind: 'state', connection: { state, reason: isOut ? (reason ?? status) : undefined, stale: true } });
      if (isWanted() && status === 'unknown') void ready();
    };
    const post = (word: Word) => tabs?.post(word);

    const ask = () => {
      const all = [mine, ...wants.values(), inherited ?? NOTHING];
      source?.want({ events: union(all.flatMap((want) => want.events)), presence: all.some((want) => want.presence) });
    };

    const flush = () => {
      if (batch.length) post({ kind: 'told', messages: batch });
      batch = [];
      if (!isWhole) return;
      const messages = [...snapshot(), state!];
      for (const to of newcomers) post({ kind: 'cache', to, messages });
      newcomers = [];
    };
    const hand = (message: SourceMessage) => {
      if (message.kind === 'fresh' || message.kind === 'left') isWhole = false;
      if (message.kind === 'synced') isWhole = true;
      take(message);
      // What came in one piece goes on in one piece.
      if (batch.push(message) === 1) queueMicrotask(flush);
    };

    const onLead = () => {
      let isOver = false;
      isLeading = isJoined = true;
      isWhole = false;
      inherited = at && { events: at.events, presence: hasPresence };
      hasPresence = false;
      const timer = setTimeout(() => {
        inherited = undefined;
        ask();
      }, INHERIT);
      post({ kind: 'begin', at });
      source = own((message) => !isOver && hand(message), at);
      ask();
      for (const each of leads.keys()) leads.set(each, each());
      return () => {
        isOver = true;
        clearTimeout(timer);
        source?.close();
        source = undefined;
        isLeading = isJoined = false;
        wants.clear();
        newcomers = batch = [];
        for (const [each, stop] of leads) {
          stop?.();
          leads.set(each, undefined);
        }
        if (tabs) rest();
      };
    };

    const onMessage = (word: Word, from: string) => {
      if (word.kind === 'want') {
        if (!wants.has(from)) tabs!.whenGone(from, () => wants.delete(from) && ask());
        wants.set(from, word.want);
        if (word.isNew) {
          newcomers.push(from);
          queueMicrotask(flush);
        }
        ask();
      } else if (word.kind === 'retry') source?.retry();
      else if (word.kind === 'begin') {
        // All tabs have read the same: who is where the new leader begins needs nothing else.
        isJoined &&= !!at && at.id === word.at?.id && at.events.join() === word.at.events.join();
        greet();
      } else if (word.kind === 'cache' ? word.to === tabs!.id : isJoined) {
        isJoined = true;
        word.messages.forEach(take);
      }
    };

    const greet = () => post({ kind: 'want', want: mine, isNew: !isJoined });
    const onLeader = (isNew: boolean) => {
      // A new one says where it begins. Of one that was there already something may have been missed.
      isJoined &&= isNew;
      greet();
    };

    const follow = () => {
      const { status, user: next } = session.get();
      const is = status === 'signed-in' ? next : undefined;
      if (tabs && is === user) return;
      // What another user was shown is nothing to go on from.
      if (user !== undefined) at = undefined;
      user = is;
      const former = tabs;
      tabs = undefined;
      former?.close();
      rest();
      if (is === undefined) return;
      tabs = createTabs({ name: `broker-client ${url} ${is}`, onLead, onLeader, onMessage: onMessage as never });
    };

    const unsubscribe = session.subscribe(follow);
    follow();
    return {
      want(want) {
        mine = want;
        if (source) return ask();
        greet();
        if (!isJoined) rest();
      },
      retry() {
        if (source) source.retry();
        else post({ kind: 'retry' });
      },
      close() {
        unsubscribe();
        const former = tabs;
        tabs = undefined;
        former?.close();
      },
    };
  };

  return {
    open,
    lead(onLead) {
      leads.set(onLead, isLeading ? onLead() : undefined);
      return () => {
        leads.get(onLead)?.();
        leads.delete(onLead);
      };
    },
  };
}
