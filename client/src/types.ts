// The public types of the package: what a client is made with, what it gives, and what plug-ins are to it.

import type { BrokerError } from './errors.js';

/**
 * The events of an application, by name. An index signature stands for all names with a prefix:
 *
 * ```ts
 * interface Events { title: string; [name: `todo/${string}`]: Todo }
 * ```
 */
export type AnyEvents = Record<string, any>;

/** The names of events. */
export type Name<E> = keyof E & string;

/** A prefix that ends with `*`, such as `todo/*`; `*` alone stands for every name. */
export type Filter = `${string}*`;

/** The data of the events that a name or a filter stands for. */
export type DataOf<E, F extends string> = F extends `${infer P}*` ? Matching<E, P> : F extends keyof E ? E[F] : never;

// Each key for itself: an intersection of two patterns is a pattern of its own for TypeScript.
type Matching<E, P extends string, K extends keyof E = keyof E> = K extends `${P}${string}` ? E[K] : `${P}${string}` extends K ? E[K] : never;

/** The names that a name or a filter stands for. */
export type NameOf<E, F extends string> = F extends `${infer P}*` ? MatchingName<E, P> : F;

type MatchingName<E, P extends string, K = Name<E>> = K extends `${P}${string}`
  ? K
  : `${P}${string}` extends K
    ? `${P}${string}`
    : never;

/** A name or a filter. */
export type NameOrFilter<E> = Name<E> | Filter;

/** The latest event of a name. Items are frozen: the same object is given until something newer comes. */
export interface Item<D = any, N extends string = string> {
  readonly event: N;
  readonly data: D;
  /** 22 digits; a greater id is a later event. An item that is still pending has the id of the item that it replaces, or ''. */
  readonly id: string;
  /** In Unix milliseconds, by the server's clock. */
  readonly timestamp: number;
  /** The user that inserted it. */
  readonly username: string;
  /** It is shown before the server has acknowledged it. */
  readonly pending?: true;
}

/** An event as it happens. */
export interface Change<D = any, N extends string = string> extends Item<D, N> {
  /** The event was removed, or has expired. `data` is null then. */
  readonly removed?: true;
  /** It happened, and is not the latest event of its name. */
  readonly transient?: true;
}

/** A value that can be read at any time and tells when it changes. What `get` gives stays the same object until then. */
export interface Store<T> {
  get(): T;
  /** Calls the listener after each change. Gives a function that ends this. */
  subscribe(listener: () => void): () => void;
}

export interface Session {
  /** `unknown` until the storage was read, and on a server that renders pages. */
  readonly status: 'unknown' | 'signed-out' | 'signed-in';
  readonly user?: string;
  /** Why it is signed out: `signed-out` by the user, here or in another tab, or a code such as `session_ended`. */
  readonly reason?: string;
}

export type ConnectionState = 'idle' | 'connecting' | 'syncing' | 'live' | 'waiting' | 'stopped';

export interface Connection {
  /**
   * `idle`: nothing is listened to. `connecting`: a stream is being opened. `syncing`: it brings what was missed. `live`: everything
   * has come. `waiting`: until `retryAt`. `stopped`: it does not come back by itself, and `reason` says why.
   */
  readonly state: ConnectionState;
  /** A code of an error, or the reason with which the server ended the stream. */
  readonly reason?: string;
  /** When the next try is made, by `Date.now()`. */
  readonly retryAt?: number;
  /** Whether what is shown may be out of date. */
  readonly stale: boolean;
}

export interface Present {
  readonly username: string;
  /** In Unix milliseconds. */
  readonly since: number;
  readonly streams: number;
}

export type TransportName = 'fetch' | 'xhr' | 'eventsource' | 'websocket';

/** Where the sign-in is kept. `localStorage`, and the AsyncStorage of React Native, are such. */
export interface KeyValueStorage {
  getItem(key: string): string | null | Promise<string | null>;
  setItem(key: string, value: string): unknown;
  removeItem(key: string): unknown;
}

export interface AuthOptions {
  /** Where the sign-in is kept: `local` is `localStorage` if there is one, `memory` forgets it with the page. */
  storage?: 'local' | 'memory' | KeyValueStorage;
  /** Gives a token of Broker, if your own service signs people in. It is asked again when the server has refused the last one. */
  token?: string | (() => string | undefined | Promise<string | undefined>);
}

export interface ClientOptions {
  /** The address of the server, such as `https://broker.example.com`. */
  url: string;
  auth?: AuthOptions;
  /** Chosen by itself if left out. */
  transport?: 'auto' | TransportName;
  /** Whether the tabs of a browser share one stream. True by default; they do where they can. */
  share?: boolean;
  /** Keeps inserts that are made offline: `createOutbox()` of `broker-client/outbox`. */
  outbox?: OutboxPlugin;
  /** Keeps the latest events for the next start: `createCache()` of `broker-client/outbox`. */
  cache?: CachePlugin;
  /** Events that were read before, such as the answer of `/events` on a server that renders pages. */
  initialEvents?: readonly (Item | Change)[];
}

export interface Credentials {
  username: string;
  password: string;
  /** The code of an authenticator app. Ask for it after the error `totp_required`. */
  totp?: string | undefined;
  /** A recovery code in the place of `totp`. */
  recoveryCode?: string | undefined;
}

export interface SignUp {
  username: string;
  password: string;
  email?: string | undefined;
  data?: unknown;
  invite?: string | undefined;
}

export interface InsertOptions {
  /** Seconds after which the event is removed. */
  expiresIn?: number;
  /** Reaches open streams, and never becomes the latest event of its name. */
  transient?: boolean;
  /** Is removed when the stream of this client has ended. */
  whileConnected?: boolean;
  /** Only if the latest event has this id. */
  ifMatch?: string;
  /** Only if the name has no event. */
  ifNoneMatch?: boolean;
  /** The idempotency key: one is made if left out. */
  key?: string;
  /** Whether the value is shown before the server has acknowledged it. True by default. */
  optimistic?: boolean;
}

export interface InsertItem<D = any, N extends string = string> extends Pick<InsertOptions, 'expiresIn' | 'transient' | 'whileConnected'> {
  event: N;
  data: D;
}

/** One insert of several: each name goes with data of its own. */
export type InsertItemOf<E, N = Name<E>> = N extends Name<E> ? InsertItem<E[N], N> : never;

/** A change that waits has no connection that it could end with. */
export type EnqueueOptions = Omit<InsertOptions, 'whileConnected'>;

export interface RemoveOptions extends Pick<InsertOptions, 'ifMatch' | 'key' | 'optimistic'> {}

/** What the server acknowledged. */
export interface Ack {
  readonly id: string;
  readonly timestamp: number;
}

export interface HistoryOptions {
  order?: 'newest' | 'oldest';
  /** Only events before this id. */
  before?: string;
  /** Only events after this id. */
  after?: string;
  /** How many events one request asks for. */
  pageSize?: number;
}

/** One sign-in of the user. Times are in Unix milliseconds. */
export interface SignIn {
  readonly session: string;
  readonly created: number;
  readonly used: number;
  readonly address: string;
  readonly client: string | null;
  readonly current: boolean;
}

/** The user's own account. */
export interface Me {
  /** A UUID. */
  readonly id: string;
  readonly username: string;
  readonly tenant_name: string;
  readonly email: string | null;
  readonly scopes: readonly string[] | null;
  readonly data: any;
  readonly two_factor: boolean;
}

/** What proves that it is the user who asks. */
export type Proof = Omit<Credentials, 'username'>;

export type Stop = () => void;

export interface Client<E = AnyEvents> {
  readonly session: Store<Session>;
  readonly connection: Store<Connection>;
  /** What was made offline, if the option `outbox` is there. */
  readonly outbox: Outbox<E> | undefined;
  /** The events that it began with: the option of the same name, or none. React shows them while it takes over a page of a server. */
  readonly initialEvents: readonly Item[];

  /**
   * Fails with `outbox_pending` if another user's changes wait in the outbox of this browser, unless `discard` is true: nothing of
   * theirs may be left for this user to read.
   */
  signIn(credentials: Credentials & { discard?: boolean }): Promise<void>;
  /** Makes an account, and signs in. Fails before that with `outbox_pending`, as `signIn` does. */
  signUp(account: SignUp & { discard?: boolean }): Promise<void>;
  /** Fails with `outbox_pending` if something waits in the outbox, unless `discard` is true. */
  signOut(options?: { discard?: boolean }): Promise<void>;

  /** Calls the listener with each event of a name or filter: those that are there, then each as it happens. */
  on<F extends NameOrFilter<E>>(nameOrFilter: F, listener: (change: Change<DataOf<E, F>, NameOf<E, F>>) => void): Stop;
  latest<N extends Name<E>>(name: N): Store<Item<E[N], N> | undefined>;
  /** The latest events of a filter, in the order of their names. */
  all<F extends NameOrFilter<E>>(filter: F): Store<readonly Item<DataOf<E, F>, NameOf<E, F>>[]>;
  /** Reads what is retained of a name, page by page as you go on. */
  history<N extends Name<E>>(name: N, options?: HistoryOptions): AsyncIterable<Change<E[N], N>>;
  /** Who is online. */
  presence(): Store<readonly Present[]>;
  /** Whether everything of a name or filter that is listened to has come. */
  isReady(nameOrFilter: NameOrFilter<E>): boolean;
  /**
   * Resolves when everything of a name or filter has come. Keeps listening to it until then. Fails with the reason once the connection
   * has stopped, as it does when nobody is signed in, unless a sign-in is under way.
   */
  ready(nameOrFilter: NameOrFilter<E>): Promise<void>;

  insert<N extends Name<E>>(name: N, data: E[N], options?: InsertOptions): Promise<Ack>;
  /** Inserts all or none. */
  insertAll(items: readonly InsertItemOf<E>[], options?: Pick<InsertOptions, 'key' | 'optimistic'>): Promise<Ack[]>;
  /** Changes the latest event; `change` is called again with the newer one if somebody else was faster. */
  update<N extends Name<E>>(
    name: N,
    change: (data: E[N] | undefined, item: Item<E[N]> | undefined) => E[N],
    options?: Pick<InsertOptions, 'expiresIn' | 'optimistic'>,
  ): Promise<Ack>;
  remove<N extends Name<E>>(name: N, options?: RemoveOptions): Promise<Ack>;

  /**
   * Everything is sent anew: what you derived may be wrong, as after the server was restored from a backup. With the reason `gap` only the
   * latest event of each name is sent, and those between were missed.
   */
  onReset(listener: (reason: string) => void): Stop;
  /** Tries to connect now. Call it when an app comes to the foreground, or to go on after `stopped`. */
  retry(): void;
  /** Ends everything: the stream, timers and listeners. */
  close(): void;

  me(): Promise<Me>;
  updateMe(data: unknown): Promise<void>;
  changePassword(change: Proof & { newPassword: string }): Promise<void>;
  deleteMe(proof: Proof): Promise<void>;
  /** Everything that is kept of the user, as lines of JSON. */
  exportMe(): Promise<string>;
  sessions(): Promise<SignIn[]>;
  /** Ends one sign-in of the user, or all, this one too. */
  endSession(which: { session: string } | { all: true }): Promise<void>;
  /** Withdraws an invite that this user has made. */
  deleteInvite(options: { invite: string }): Promise<void>;
  createInvite(options?: { scopes?: string[]; expiresIn?: number; uses?: number }): Promise<{ invite: string; expires_at: number }>;
  twoFactorBegin(options: { password: string; issuer?: string }): Promise<{ secret: string; uri: string; qr: string }>;
  /** Switches it on. The codes are shown once. */
  twoFactorConfirm(options: { totp: string }): Promise<{ recovery_codes: string[] }>;
  twoFactorEnd(proof: Proof): Promise<void>;
}

// Plug-ins.

/** A value that is shown until the stream has it. */
export interface Overlay {
  /** The server has acknowledged it under this id: it goes as soon as the stream has reached the id. */
  accepted(id: string): void;
  /** It goes at once. */
  refused(): void;
}

export interface RequestOptions {
  body?: unknown;
  headers?: Record<string, string | undefined>;
  /** Without the token of the session. */
  open?: boolean;
  /** Milliseconds until it fails with `timeout`. */
  timeout?: number;
  /** The answer is text, and not JSON. */
  isText?: boolean;
  /** Is given the headers of an answer that was no refusal. */
  seen?(headers: Headers): void;
  /** Only as this user: fails with `unauthorized` if somebody else, or nobody, is signed in when the token is taken. */
  as?: string;
  /** Whether the answer is one of Broker, where it must say something. Any other fails with `cut_off`. */
  isWhole?(answer: any): boolean;
}

/** What a plug-in can do with its client. */
export interface Host {
  readonly url: string;
  readonly session: Store<Session>;
  readonly connection: Store<Connection>;
  /** Resolves when it is known who is signed in. */
  ready(): Promise<unknown>;
  /** One request, with the session's token. A 401 renews the token once. Fails with a {@link BrokerError}. */
  request<T = any>(path: string, options?: RequestOptions): Promise<T>;
  /** Shows a value as pending; `undefined` shows that the event is removed. */
  overlay(event: string, data: unknown, removed?: boolean): Overlay;
  /** Puts events of an earlier start into the cache, unless something newer is there. They are stale until the stream has confirmed them. */
  seed(events: readonly Item[]): void;
  /** Every event that the stream has brought, and every removal. */
  onItem(listener: (change: Change) => void): Stop;
  /** Calls `onLead` while this tab leads those that share its user: one does at a time, where tabs can agree. */
  lead(onLead: () => Stop): Stop;
}

export interface OutboxPlugin {
  attach(host: Host): Outbox & AttachedPlugin;
}

export interface CachePlugin {
  attach(host: Host): AttachedPlugin;
}

export interface AttachedPlugin {
  /** Called when a user has given the right password, before the session begins. It may refuse by failing, unless `discard`. */
  beforeSignIn?(user: string, discard: boolean): void | Promise<void>;
  /** Called before the session is signed out. It may refuse by failing, unless `discard`. */
  beforeSignOut?(discard: boolean): void | Promise<void>;
  /** Called after each end of a sign-in: what is kept of this user must go. */
  wipe?(user: string | undefined): void | Promise<void>;
  close(): void;
}

export type QueuedState = 'queued' | 'sending' | 'done' | 'paused' | 'blocked' | 'refused' | 'unknown' | 'discarded';

/** One insert or removal that waits in the outbox. */
export interface Queued {
  readonly key: string;
  readonly event: string;
  readonly data: unknown;
  readonly removed?: true;
  readonly state: QueuedState;
  readonly error?: BrokerError;
}

export interface OutboxStatus {
  /**
   * `idle`: nothing is left to be sent. `waiting`: for the server, until the next try at `retryAt`. `paused`: until the user signs in
   * again.
   */
  readonly state: 'idle' | 'sending' | 'waiting' | 'paused';
  readonly retryAt?: number;
  /** Whether what waits survives a reload. It does not if the browser refuses or has lost its database. */
  readonly durable: boolean;
}

export interface Outbox<E = AnyEvents> {
  readonly status: Store<OutboxStatus>;
  /** Keeps an insert and sends it when it can. Resolves when it is kept, with what tells how it goes on. */
  enqueue<N extends Name<E>>(event: N, data: E[N], options?: EnqueueOptions): Promise<QueuedHandle>;
  /** Keeps a removal, as `enqueue` keeps an insert. */
  remove(event: Name<E>, options?: RemoveOptions): Promise<QueuedHandle>;
  /** What waits, the oldest first. */
  readonly pending: Store<readonly Queued[]>;
  /** Tries one again that is blocked, refused or unknown, with its own key. */
  retry(key: string): void;
  discard(key: string): void;
}

export interface QueuedHandle {
  readonly key: string;
  readonly status: Store<Queued>;
  /** Resolves when the server has acknowledged it; fails if it was refused or discarded. */
  readonly done: Promise<Ack>;
}
