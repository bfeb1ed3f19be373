// Where a client's events come from: a stream of its own, or what the leading tab hands on. Both speak in these messages.

import type { Change, Connection, Present, Stop } from './types.js';

/** What a client listens to: names and prefixes as the server takes them, sorted, and whether it shows who is online. */
export interface Want {
  readonly events: readonly string[];
  readonly presence: boolean;
}

export const NOTHING: Want = { events: [], presence: false };

export const isSomething = ({ events, presence }: Want): boolean => events.length > 0 || presence;

/** What a source tells. The messages can be cloned, so that one tab can hand them on to others. */
export type SourceMessage =
  | { readonly kind: 'state'; readonly connection: Connection; readonly stream?: string }
  /** Everything is sent again from here; what is not seen again until `synced` is gone. With a reason, the server has asked for it. */
  | { readonly kind: 'fresh'; readonly reason?: string }
  | { readonly kind: 'event'; readonly change: Change }
  | { readonly kind: 'online'; readonly username: string; readonly present?: Present | false }
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
  /** Looks whether the network is there: the page may have slept. */
  wake(): void;
  /** Does what is due: the timers of a page that is hidden may run once a minute. */
  tick(): void;
  close(): void;
}

/** Where a stream is: everything of these filters has come, up to this id. */
export interface Position {
  readonly id: string;
  readonly events: readonly string[];
  /** The id of the stream, which can be taken over. */
  readonly stream?: string;
}

/** Opens a source. `tell` is called in the order of the stream. With `from` it resumes there, if it can. */
export type OpenSource = (tell: (message: SourceMessage) => void, from?: Position) => Source;

/** What a page goes through. */
export interface PageEvents {
  /** The page may have been asleep, is seen again, or has a network again. */
  wake(): void;
  /** The page is left, frozen or goes into the back-forward cache: what it holds open keeps it from that, or starves others. */
  sleep(): void;
}

export type WatchPage = (on: PageEvents) => Stop;
