// What every transport is: it opens one stream, and knows nothing of stores, sessions or reconnecting.

import { NetworkError, type BrokerError } from '../errors.js';
import { query } from '../http.js';
import { createParser } from '../parser.js';
import type { Stop } from '../types.js';

/** What a stream brings: the frames of `broker.v1`, and events with `envelope=true`, are such. */
export interface Frame {
  event: string;
  data: any;
  id: string;
  timestamp?: number;
  username?: string;
  removed?: true;
  transient?: true;
}

export interface StreamRequest {
  /** The address of the server. */
  url: string;
  token: string;
  /** The filter; empty for none. */
  events: string;
  presence: boolean;
  /** Resumes after this id. */
  after?: string;
  /** The stream that this one takes over. */
  stream?: string;
}

export interface StreamEvents {
  /** The server has taken the request. */
  open(stream: string | undefined): void;
  /** Something came, a heartbeat if nothing else. */
  life(): void;
  frame(frame: Frame): void;
  /** The stream is over. Without an error it goes on, and should be opened anew at a good moment, as often as this is said: it is too long. */
  end(error: BrokerError | undefined): void;
}

/** Opens a stream. What it gives closes it, and nothing more is told then. */
export type OpenStream = (request: StreamRequest, on: StreamEvents) => Stop;

/** The filter as the server takes it: a list must not be empty. */
export const filterOf = (events: string): { events?: string; except?: string } => (events ? { events } : { except: '*' });

export const sseUrl = ({ url, events, presence, after, stream }: StreamRequest, more?: Record<string, string>): string =>
  `${url}/sse?${query({ ...filterOf(events), envelope: 'true', marks: 'true', presence: `${presence}`, lastEventId: after, stream, ...more })}`;

/** Reads the text of a stream with `envelope=true`. Fails if it is no such stream. */
export function readFrames(on: (frame: Frame) => void): (chunk: string) => void {
  return createParser((event, data, id) => {
    const value = JSON.parse(data);
    on(event[0] === '$' ? { event, data: value, id } : value);
  });
}

/** Reads what has come. The stream ends if it cannot be read: what follows such a hole is worth nothing. */
export function reading(run: () => void, end: (error: BrokerError) => void): void {
  try {
    run();
  } catch {
    end(broken());
  }
}

export const broken = (): BrokerError => new NetworkError('stream_broken');
/** This transport does not work here, and another one may. */
export const noStream = (): BrokerError => new NetworkError('no_stream');
