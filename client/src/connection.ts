// One stream that comes back: it resumes where it was, notices silence, and says how it stands.

import { bounded } from './bounded.js';
import type { BrokerError } from './errors.js';
import { covers } from './filter.js';
import { bearer } from './http.js';
import type { SessionKeeper } from './session.js';
import { isSomething, NOTHING, type OpenSource } from './source.js';
import { now } from './store.js';
import type { LoadTransport } from './transports/choose.js';
import { filterOf, noStream, type Frame, type OpenStream } from './transports/transport.js';
import type { Connection, RequestOptions, Stop } from './types.js';

/** A heartbeat comes every 12 seconds. */
const SILENCE = 30_000;
/** After a wake-up a stream must show life within one heartbeat. */
const GRACE = 13_000;
const LOOK_EVERY = 5_000;
const MAX_WAIT = 30_000;
/** A stream that was open for so long was a good one. */
const GOOD = 10_000;
/** Two silences within this time are no chance. */
const SHORT = 300_000;
/** So long a filter fits into the head of a request and into a first frame. */
const MAX_FILTER_IN_HEAD = 8_000;

export interface ConnectionHost {
  url: string;
  session: SessionKeeper;
  /** Ways to open a stream, the best first. */
  transports: readonly LoadTransport[];
  request(path: string, options: RequestOptions): Promise<any>;
}

export const createConnection = ({ url, session, transports, request }: ConnectionHost): OpenSource => (tell, from) => {
  let want = NOTHING;
  let state: Connection = { state: 'idle', stale: true };
  /** Counts the attempts: whatever belongs to an earlier one is over. */
  let attempt = 0;
  let closeStream: Stop | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let ticker: ReturnType<typeof setInterval> | undefined;
  let fails = 0;
  let transport = 0;
  let silentAt = -Infinity;

  let token: string | undefined;
  /** The token that the server did not take. */
  let refused: string | undefined;
  let stream = from?.stream;

  /** The id after which the stream can be resumed, for the names of `complete`. */
  let last = from?.id;
  let complete = from?.events ?? [];
  /** Names are new to the stream, or are sent again, until `$synced`: their ids are old, and a cut stream cannot be resumed. */
  let isDirty = !from;
  /** What the open stream was asked for last. */
  let sent: readonly string[] = [];
  let sentPresence = false;
  let isChanging = false;
  /** The number of the change under way, once it is known, and the last that has come. */
  let change = 0;
  let reached = 0;
  /** The id of the last `$synced` while a change was under way. */
  let position = '';
  let isSynced = false;

  let isOpen = false;
  let heard = 0;
  let openedAt = 0;
  /** When a frame came last, or the stream was opened. */
  let framed = 0;
  let ticked = 0;
  let wall = 0;

  function say(next: Connection['state'], reason?: string, retryAt?: number) {
    state = { state: next, reason, retryAt, stale: next !== 'live' };
    tell({ kind: 'state', connection: state, stream });
  }

  function cut() {
    attempt++;
    closeStream?.();
    closeStream = undefined;
    isOpen = isSynced = isChanging = false;
    clearTimeout(timer);
    clearInterval(ticker);
  }

  function stop(reason?: string) {
    cut();
    say('stopped', reason);
  }

  /** Full jitter: those who were cut off together do not come back together. */
  function wait(reason: string, atLeast = 0) {
    // Not with `$synced`: what cuts off every stream soon would be asked without end.
    if (isOpen && now() - openedAt > GOOD) fails = 0;
    // It is another's now, and two pages must not take it from each other for ever.
    if (reason === 'replaced') stream = undefined;
    cut();
    const ms = bounded(atLeast) * 1000 + 200 + Math.random() * Math.min(MAX_WAIT, 1000 * 2 ** fails++);
    timer = setTimeout(open, ms);
    say('waiting', reason, Date.now() + ms);
  }

  /** `isQuiet`: what is shown is not stale, the stream is only replaced by another one. */
  async function open(isQuiet = false) {
    cut();
    const mine = attempt;
    if (!isSomething(want)) return say('idle');
    if (!isQuiet) say('connecting');
    let opener: { default: OpenStream };
    try {
      [token, opener] = await Promise.all([session.token(refused), transports[transport]!().catch(() => Promise.reject(noStream()))]);
    } catch (error) {
      if (mine === attempt) failed(error as BrokerError);
      return;
    }
    if (mine !== attempt) return;
    if (!token) return stop(session.store.get().reason ?? 'signed-out');
    // It is another one: `session` does not give the same again.
    refused = undefined;

    // What has come is resumed, and nothing of it is missed; what is new is added when that is in sync.
    const common = want.events.filter((entry) => covers(complete, entry));
    if (isDirty || !common.length) last = undefined;
    sent = last ? common : want.events;
    if (sent.join().length > MAX_FILTER_IN_HEAD) {
      last = undefined;
      sent = [];
    }
    const isFresh = !last;
    isDirty = false;
    sentPresence = want.presence;
    if (isFresh) complete = sent;
    change = reached = 0;
    heard = openedAt = ticked = now();
    wall = Date.now();
    ticker = setInterval(watch, LOOK_EVERY);
    const live = (run: (...args: any[]) => void) => (...args: any[]) => {
      if (mine !== attempt) return;
      heard = now();
      run(...args);
    };
    try {
      // Without a name it would be given the stream that the same user has just lost on another device.
      closeStream = opener.default(
        { url, token, events: sent.join(), presence: sentPresence, after: last, stream: stream ?? 'new' },
        {
          open: live((id) => {
            stream = id ?? stream;
            openedAt = framed = now();
            isOpen = true;
            if (isFresh) tell({ kind: 'fresh' });
            if (sentPresence) tell({ kind: 'crowd' });
            say(isQuiet ? state.state : 'syncing');
            renewLater();
          }),
          life: live(() => {}),
          frame: live(receive),
          // It is opened anew as soon as it can be resumed.
          end: live((error) => (error ? failed(error) : isDirty || isChanging || void open(true))),
        },
      );
    } catch {
      // It is not there, or forbidden here.
      failed(noStream());
    }
  }

  function receive(frame: Frame) {
    const { event, data, id } = frame;
    framed = now();
    if (event[0] !== '$') {
      advance(id);
      // It was on its way when the filter was narrowed.
      if (covers(sent, event)) tell({ kind: 'event', change: frame as any });
    } else if (event === '$synced') {
      reached = data.change ?? reached;
      if (!isChanging) synced(id);
      else {
        position = id;
        finish();
      }
    } else if (event === '$reset') {
      last = undefined;
      isDirty = true;
      tell({ kind: 'fresh', reason: data.reason });
    } else if (event === '$left') {
      isDirty = true;
      tell({ kind: 'left', event: data.event });
    } else if (event === '$end') {
      advance(id);
      ended(data.reason, data.retry / 1000);
    } else if (event.startsWith('$presence/')) {
      const { online, ...rest } = data;
      const username = event.slice(10);
      tell({ kind: 'online', username, present: online && { username, ...rest } });
    }
  }

  /** Ids that are older than where the stream is are of events that are new to it. */
  function advance(id: string) {
    if (!isDirty && (!last || id > last)) last = id;
  }

  function synced(id: string) {
    isDirty = false;
    isSynced = true;
    advance(id);
    complete = sent;
    // Nothing has come yet of a filter that was too long.
    if (sent.length === 0 && want.events.length > 0) return alter();
    tell({ kind: 'synced', id, events: sent });
    if (state.state !== 'live') say('live');
    alter();
  }

  /** A change is complete with the first `$synced` of its number or a later one, which may come before the answer. */
  function finish() {
    if (!change || reached < change) return;
    isChanging = false;
    synced(position);
  }

  async function alter() {
    if (!isSynced || isChanging) return;
    if (!isSomething(want) || (want.presence && !sentPresence)) return open(true);
    if (want.events.join() === sent.join()) return;
    const mine = attempt;
    const before = sent;
    sent = want.events;
    isChanging = true;
    change = 0;
    complete = sent.filter((entry) => covers(before, entry));
    if (complete.length < sent.length) isDirty = true;
    // Without its id it cannot be changed.
    if (!stream) return open();
    try {
      ({ change } = await request('/subscription', { body: { stream, ...filterOf(sent.join()) }, isWhole: (answer) => answer.change }));
    } catch (error) {
      if (mine !== attempt) return;
      isDirty = true;
      return failed(error as BrokerError);
    }
    if (mine === attempt) finish();
  }

  function ended(reason: string, retry: number) {
    if (reason === 'expired' || reason === 'revoked') {
      if (token === session.jwt()) refused = token;
      wait(reason);
    } else if (retry || reason !== 'limit') wait(reason, retry);
    else stop(reason);
  }

  function failed(error: BrokerError) {
    const { code, status } = error;
    // One that is not the best is left if it does not open.
    if (code === 'no_stream' || (!isOpen && !status && transport && fails > 1)) nextTransport();
    if (status === 401) refused = token;
    if (status === 401 || error.retryable || code === 'stream_unknown') {
      wait(code, error.retryAfter);
    } else stop(code);
  }

  function nextTransport() {
    transport = (transport + 1) % transports.length;
    silentAt = -Infinity;
  }

  function dead() {
    // Its head has come, and nothing after it: a proxy or a browser holds it back.
    const isAgain = now() - silentAt < SHORT;
    silentAt = now();
    if (!isSynced || isAgain) nextTransport();
    wait('silent');
  }

  function watch() {
    const time = now();
    const passed = time - ticked;
    // The clock of the machine has gone on without ours, or was set.
    const drift = Date.now() - wall - passed;
    ticked = time;
    wall += passed + drift;
    if (passed > 2 * LOOK_EVERY || drift > LOOK_EVERY) look();
    else if (
      time - heard > SILENCE ||
      // Something that is not Broker may send life and nothing else.
      (isOpen && !isSynced && (time - framed > SILENCE || (heard <= openedAt && time - heard > 2 * LOOK_EVERY)))
    ) {
      dead();
    }
  }

  /**
   * Timers stood still, and what came meanwhile may not have been read yet: it is given a moment. Then it must show life within one
   * heartbeat.
   */
  function look() {
    const mine = attempt;
    setTimeout(() => {
      if (mine !== attempt) return;
      if (now() - heard > SILENCE) dead();
      else heard = Math.min(heard, now() - SILENCE + GRACE);
    }, 1000);
  }

  function wake() {
    if (state.state === 'waiting') void open();
    else if (closeStream) look();
  }

  /** A stream ends with its token, unless it is given a newer one before. */
  function renewLater() {
    const mine = attempt;
    clearTimeout(timer);
    const ms = session.due();
    if (ms > 2 ** 31 - 1) return;
    timer = setTimeout(async () => {
      const old = token;
      await session.token().catch(() => undefined);
      // It has failed, and is tried again.
      if (mine === attempt && session.jwt() === old) timer = setTimeout(renewLater, LOOK_EVERY);
    }, ms);
  }

  const offToken = session.onToken(async () => {
    const mine = attempt;
    const former = token;
    if (!isOpen || !stream || !session.jwt()) return;
    token = session.jwt()!;
    // If this fails, the stream ends with the former token, and is resumed. A token that is refused here must not be renewed for it: that
    // would be the next token to be given, and so on.
    const more = { open: true, headers: bearer(token), body: { stream, renew: true } };
    await request('/subscription', more).catch(() => mine === attempt && (token = former));
    if (mine === attempt) renewLater();
  });

  return {
    want(next) {
      const isOther = JSON.stringify(next) !== JSON.stringify(want);
      want = next;
      if (!isOther) return;
      if (!isSomething(want) || state.state === 'idle' || (state.state === 'stopped' && state.reason !== 'limit')) void open();
      else void alter();
    },
    retry() {
      fails = 0;
      if (state.state === 'stopped') void open();
      else wake();
    },
    wake,
    tick() {
      if (state.state !== 'waiting') return void (closeStream && watch());
      if (Date.now() >= state.retryAt!) void open();
    },
    close() {
      cut();
      offToken();
      want = NOTHING;
      say('idle');
    },
  };
};
