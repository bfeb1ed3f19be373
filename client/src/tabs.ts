// Tabs of one origin choose a leader by a Web Lock, and talk over a BroadcastChannel.
//
// The lock alone is not enough: a page that is frozen keeps its lock. So a follower that hears nothing of the leader asks whether it is
// alive, and takes the lock away if there is no answer. It asks, instead of the leader telling it at an interval, because timers of a
// hidden leader run once a minute, while messages wake it at once.

import { watchPage } from './page.js';
import { openChannel, randomKey } from './store.js';
import type { Stop } from './types.js';

/** How long a follower hears nothing before it asks, in ms. */
const QUIET = 700;
/** How long the leader has for an answer. With QUIET this bounds the gap after a leader has frozen. */
const ANSWER = 1000;
/** A timer that is so late was asleep. Those of hidden pages run once a second. */
const SLEPT = 1500;
/** Followers that have waited equally long draw lots, so that one of them takes the lock. */
const SPREAD = 150;
/** How long a lock that nobody else can hold may take, in ms. */
const STUCK = 3000;

export interface TabsOptions {
  /** Tabs that give the same name share a leader. */
  name: string;
  /** This tab leads itself, and shares with nobody. */
  isAlone: boolean;
  /** Is called when this tab becomes the leader. What it returns is called when it is not any more. */
  onLead(): Stop;
  /** Is called when another tab has become the leader, or was found to be it. What a new one says is heard from its first word. */
  onLeader(isNew: boolean): void;
  /** Is called with what another tab has posted: the leader for all, or a follower for the leader. */
  onMessage(message: unknown, from: string): void;
  /** Is called when the page is seen again, has a network again, or goes on after it was frozen. */
  onWake(): void;
  /** Is called in the leader when a follower asks for it: messages come also while timers hardly run. */
  onPing(): void;
}

export interface Tabs {
  /** The id of this tab on the channel. */
  readonly id: string;
  /** As the leader, sends to all followers. As a follower, sends to the leader if there is one. */
  post(message: unknown): void;
  /** Calls `gone` once the tab of this id has gone: it was closed, crashed, or is in the back-forward cache. */
  whenGone(id: string, gone: () => void): void;
  close(): void;
}

/** `lead` tells of a new leader, `alive` answers `ping`, and `bye` says that the leader is none any more. */
type Kind = 'ping' | 'alive' | 'claim' | 'lead' | 'bye' | 'down' | 'up';

export function createTabs({ name, isAlone, onLead, onLeader, onMessage, onWake, onPing }: TabsOptions): Tabs {
  const id = randomKey();
  const locks = globalThis.navigator?.locks;
  let channel: BroadcastChannel | undefined;
  let stop: Stop | undefined;
  /** Ends when this tab leaves. */
  let stay: AbortController;
  /** Ends when this tab stops waiting for, or holding, the lock of the leader. */
  let bid = new AbortController();
  let leader: string | undefined;
  let isHeard = false;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const tell = (kind: Kind, body?: unknown) => channel?.postMessage([kind, id, body]);

  /** Holds a lock from when it is granted until the signal ends. `lost` is called if it is refused or taken away. */
  const hold = (lock: string, { signal }: AbortController, steal: boolean, granted: () => void, lost: () => void) =>
    void locks
      .request(lock, steal ? { steal } : { signal }, () => {
        if (signal.aborted) return;
        granted();
        return new Promise((release) => signal.addEventListener('abort', release));
      })
      .catch(() => signal.aborted || lost());

  const unlead = () => {
    const end = stop;
    stop = undefined;
    if (!end) return;
    tell('bye');
    end();
  };

  const apply = (steal: boolean) => {
    bid.abort();
    bid = new AbortController();
    hold(
      name,
      bid,
      steal,
      () => {
        clearTimeout(timer);
        leader = undefined;
        tell('lead');
        // It may post as the leader from the start.
        stop = () => {};
        stop = onLead();
      },
      () => {
        // Another tab took the lock, because this one seemed frozen: what it leads is that tab's now.
        if (!stop) return;
        unlead();
        apply(false);
        quiet();
      },
    );
  };

  const later = (ms: number, then: () => void) => {
    clearTimeout(timer);
    isHeard = false;
    const due = Date.now() + ms;
    timer = setTimeout(() => {
      // After its own sleep a tab has heard nobody, which says nothing of the leader.
      if (isHeard || Date.now() - due > SLEPT) quiet();
      else then();
    }, ms);
  };
  const ask = () => {
    tell('ping');
    asked();
  };
  const quiet = () => later(QUIET, ask);
  const asked = () => later(ANSWER, () => later(Math.random() * SPREAD, claim));
  const claim = () => {
    tell('claim');
    leader = undefined;
    apply(true);
    quiet();
  };

  const receive = ({ data }: MessageEvent<[Kind, string, unknown]>) => {
    // Whatever else speaks here is not of this version.
    if (!Array.isArray(data)) return;
    const [kind, from, body] = data;
    if (stop) {
      if (kind === 'ping') {
        tell('alive');
        onPing();
      }
      if (kind === 'up') onMessage(body, from);
      return;
    }
    // One has asked for all.
    if (kind === 'ping') return asked();
    // A leader whose lock was taken may speak on until it knows: the one that said `lead` last counts.
    if (kind === 'lead' || (!leader && (kind === 'alive' || kind === 'down'))) {
      leader = from;
      onLeader(kind === 'lead');
    }
    if (kind === 'claim' || from === leader) isHeard = true;
    if (from !== leader) return;
    if (kind === 'bye') leader = undefined;
    if (kind === 'down') onMessage(body, from);
  };

  const join = () => {
    if (channel || stop) return;
    channel = isAlone || !globalThis.document || !locks ? undefined : openChannel(name);
    if (!channel) {
      // Browsers have no locks in pages that are no secure context, such as http://192.168.1.2: each tab leads itself.
      stop = onLead();
      return;
    }
    stay = new AbortController();
    // Locks that are refused, as in a sandboxed frame, or never granted, must keep no page from its stream.
    const alone = () => {
      leave();
      stop = onLead();
    };
    timer = setTimeout(alone, STUCK);
    // Others learn of this tab's end by its own lock. Nobody may hear of the tab before it holds it.
    const begin = () => {
      channel!.onmessage = receive;
      apply(false);
      ask();
    };
    hold(name + id, stay, false, begin, alone);
  };
  const leave = () => {
    clearTimeout(timer);
    unlead();
    bid.abort();
    stay?.abort();
    channel?.close();
    channel = leader = undefined;
  };

  // A page with a lock, a stream or an open channel is not kept in the back-forward cache, and one that is frozen starves the others.
  const wake = () => {
    join();
    onWake();
  };
  const unwatch = watchPage({ wake, sleep: leave });
  join();

  return {
    id,
    post: (body) => (stop || leader) && tell(stop ? 'down' : 'up', body),
    whenGone: (other, gone) => void locks.request(name + other, { signal: stay.signal }, gone).catch(() => {}),
    close() {
      unwatch();
      leave();
    },
  };
}
