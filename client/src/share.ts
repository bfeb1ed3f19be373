// One stream for all tabs of a user: the leader opens it for what all of them want, and hands on what it tells.
//
// Every tab keeps everything that was told. So each of them can lead as soon as the leader is gone, and resumes where the former
// stream was. A tab that joins is given the leader's cache first.

import { union } from './filter.js';
import { isSomething, NOTHING, type OpenSource, type Position, type Source, type SourceMessage, type Want } from './source.js';
import { createTabs, type Tabs } from './tabs.js';
import type { Session, Stop, Store } from './types.js';

/** So long a new leader asks for what the former one did, in ms: other tabs have not said yet what they want. */
const INHERIT = 1500;

export interface ShareOptions {
  /** Tabs of one server and one user share. */
  url: string;
  /** This tab shares with nobody. */
  isAlone: boolean;
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

/** What a follower says: what it wants, whether it needs the cache, and whether to try now. */
interface Wish {
  want: Want;
  isNew?: boolean;
  isRetry?: boolean;
}

/** What a leader says. */
interface News {
  /** Its stream goes on from here. */
  begin?: [at: Position | undefined];
  /** For this tab alone; else for all that have joined. */
  to?: string;
  messages?: SourceMessage[];
}

export function shareSource(own: OpenSource, { url, isAlone, session, ready, snapshot }: ShareOptions): Sharing {
  /** Those who want to know whether this tab leads, and what ends it for them. */
  const leads = new Set<{ onLead: () => Stop; stop?: Stop }>();

  /** As the leader: its stream. */
  let source: Source | undefined;

  const open: OpenSource = (tell, at) => {
    // `at` is where this tab is, whoever reads the stream. It is undefined while there is nothing to go on from.
    let user: string | undefined;
    let tabs: Tabs | undefined;
    /** Ends the stream that is opened before it is known who is signed in. */
    let endAlone: Stop | undefined;
    let mine = NOTHING;
    let state: SourceMessage;
    /** Whether the stream tells who is online. */
    let hasPresence = false;
    /** As a follower: whether what the leader tells goes on from what this tab has. */
    let isJoined = false;
    /** As the leader: what others want, which of them wait for the cache, and what is to be handed on. */
    const wants = new Map<string, Want>();
    let newcomers: string[] = [];
    let batch: SourceMessage[] = [];

    const take = (message: SourceMessage) => {
      const { kind } = message;
      if (kind === 'synced') at = { id: message.id, events: message.events, stream: at?.stream };
      else if (kind === 'fresh' || kind === 'left') at = undefined;
      else if (kind === 'online') hasPresence = true;
      else if (at && kind === 'event' && message.change.id > at.id) at = { ...at, id: message.change.id };
      else if (kind === 'state') {
        state = message;
        if (at && message.stream) at = { ...at, stream: message.stream };
      }
      tell(message);
    };

    /** Says how it stands while no stream is read, here or elsewhere. */
    const rest = () => {
      const { status, reason } = session.get();
      const isOut = status === 'signed-out';
      const state = !isSomething(mine) ? 'idle' : isOut ? 'stopped' : 'connecting';
      take({ kind: 'state', connection: { state, reason: isOut ? (reason ?? status) : undefined, stale: true } });
    };

    const ask = () => {
      const all = [mine, ...wants.values()];
      source?.want({ events: union(all.flatMap((want) => want.events)), presence: all.some((want) => want.presence) });
    };
    const drop = (id: string) => wants.delete(id) && ask();
    const post = (word: Wish | News) => tabs?.post(word);
    const wish = (more?: Partial<Wish>) => post({ want: mine, ...more });

    const flush = () => {
      if (batch.length) post({ messages: batch });
      batch = [];
      if (!at) return;
      for (const to of newcomers) post({ to, messages: [...snapshot(), state] });
      newcomers = [];
    };

    const onLead = () => {
      let isOver = false;
      isJoined = true;
      let timer: ReturnType<typeof setTimeout> | undefined;
      wants.clear();
      if (at) {
        // Its place among those who want is that of the former leader.
        wants.set('', { events: at.events, presence: hasPresence });
        timer = setTimeout(drop, INHERIT, '');
      }
      hasPresence = false;
      post({ begin: [at] });
      source = own((message) => {
        if (isOver) return;
        take(message);
        // What came in one piece goes on in one piece.
        if (batch.push(message) === 1) queueMicrotask(flush);
      }, at);
      ask();
      for (const each of leads) each.stop = each.onLead();
      return () => {
        isOver = true;
        clearTimeout(timer);
        source!.close();
        source = undefined;
        isJoined = false;
        newcomers = batch = [];
        for (const each of leads) each.stop?.();
        if (tabs) rest();
      };
    };

    const onMessage = (word: Wish & News, from: string) => {
      if (word.want) {
        if (!wants.has(from)) tabs!.whenGone(from, () => drop(from));
        wants.set(from, word.want);
        ask();
        if (word.isRetry) source!.retry();
        if (!word.isNew) return;
        newcomers.push(from);
        queueMicrotask(flush);
      } else if (word.begin) {
        // All tabs have read the same: who is where the new leader begins needs nothing else.
        isJoined &&= JSON.stringify(word.begin) === JSON.stringify([at]);
        wish({ isNew: !isJoined });
      } else if (word.to ? word.to === tabs!.id : isJoined) {
        isJoined = true;
        word.messages!.forEach(take);
      }
    };

    const onLeader = (isNew: boolean) => {
      if (isNew) return;
      // It was there already, and something may have been missed.
      isJoined = false;
      wish({ isNew: true });
    };

    const close = () => {
      const former = tabs;
      tabs = undefined;
      former?.close();
      endAlone?.();
      endAlone = undefined;
    };
    const follow = () => {
      const { status, user: is } = session.get();
      if (tabs && is === user) return;
      // What another user was shown is nothing to go on from.
      if (user !== undefined) at = undefined;
      user = is;
      close();
      rest();
      // It asks who is signed in, again and again as long as something is wanted.
      if (status === 'unknown') endAlone = onLead();
      else if (is !== undefined) {
        const name = `broker-client 1 ${url} ${is}`;
        const [onWake, onPing] = [() => source?.wake(), () => source?.tick()];
        tabs = createTabs({ name, isAlone, onLead, onLeader, onMessage: onMessage as never, onWake, onPing });
      }
    };

    const unsubscribe = session.subscribe(follow);
    follow();
    return {
      want(want) {
        mine = want;
        if (source) return ask();
        wish();
        if (!isJoined) rest();
      },
      // Who supplies tokens may have one now.
      retry: () => (source ? source.retry() : tabs ? wish({ isRetry: true }) : void ready()),
      wake() {},
      tick() {},
      close() {
        unsubscribe();
        close();
      },
    };
  };

  return {
    open,
    lead(onLead) {
      const each: { onLead: () => Stop; stop?: Stop } = { onLead };
      if (source) each.stop = onLead();
      leads.add(each);
      return () => {
        leads.delete(each);
        each.stop?.();
      };
    },
  };
}
