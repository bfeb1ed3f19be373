// Where a client's events come from: a stream of its own, or what the leading tab hands on. Both speak in these messages.

import type { Change, Connection, Present, Stop } from './types.js';

/** What a client listens to: names and prefixes as the server takes them, sorted, and whether it shows who is online. */
export interface Want {
  readonly events: readonly string[];
  readonly presence: boolean;
}

/** What a source tells. The messages can be cloned, so that one tab can hand them on to others. */
export type SourceMessage =
  | { readonly kind: 'state'; readonly connection: Connection; readonly stream?: string }
  /** Everything is sent again from here; what is not seen again until `synced` is gone. With a reason, the server has asked for it. */
  | { readonly kind: 'fresh'; readonly reason?: string }
  | { readonly kind: 'event'; readonly change: Change }
  | { readonly kind: 'online'; readonly username: string; readonly present?: Present }
  /** Everybody that is online is told again from here. */
  | { readonly kind: 'crowd' }
  /** The event may not be seen any more. */
  | { readonly kind: 'left'; readonly event: string }
  /** Everything of this filter has come, up to this id. */
  | { readonly kind: 'synced'; readonly id: string; readonly events: readonly string[] };

export interface Source {
  /** Changes what is wanted. Nothing wanted ends the stream. */
  want(want: Want): void;
  /** Tries now. */
  retry(): void;
  close(): void;
}

/** Opens a source. `tell` is called in the order of the stream. */
export type OpenSource = (tell: (message: SourceMessage) => void) => Source;

/**
 * Makes a source that tabs share: the leader opens `own` for all of them and hands on what it tells. `snapshot` gives the leader's
 * cache as messages, for a tab that joins.
 */
export type ShareSource = (own: OpenSource, options: { name: string; snapshot(): SourceMessage[] }) => OpenSource;

/** What a page goes through. The leader of the tabs, the connection and the outbox all need it. */
export interface PageEvents {
  /** The page may have been asleep, is seen again, or has a network again. */
  wake(why: 'gap' | 'visible' | 'online' | 'resume'): void;
  /** The page is frozen or goes into the back-forward cache: what it holds open keeps it from that, or starves others. */
  sleep(): void;
}

export type WatchPage = (on: PageEvents) => Stop;
