// Errors as classes, so that a program can tell what to do about one.

import { bounded } from './bounded.js';
import type { Change } from './types.js';

/** A request that failed. */
export class BrokerError extends Error {
  override name = 'BrokerError';

  /** What went wrong, as in the server's table of errors; or `network`, `timeout`, `closed` and others of this package. */
  declare readonly code: string;
  /** The status of the answer; 0 if there was none. */
  declare readonly status: number;
  /** Seconds to wait, if the server says so. */
  declare readonly retryAfter: number;

  constructor(code: string, message: string, status = 0, retryAfter = 0) {
    super(message);
    Object.assign(this, { code, status, retryAfter });
  }

  /** Whether the same request may succeed later. */
  get retryable(): boolean {
    return this.status === 429 || this.status === 408 || this.status > 499;
  }
}

/** There was no answer. Whether the request was carried out is not known. */
export class NetworkError extends BrokerError {
  override name = 'NetworkError';

  constructor(code = 'network', message = 'the server cannot be reached') {
    super(code, message);
  }

  override get retryable(): boolean {
    return true;
  }
}

/** Signing in is needed (401), or a right is missing (403). */
export class AuthError extends BrokerError {
  override name = 'AuthError';
}

/** Somebody else was faster (412). */
export class ConflictError extends BrokerError {
  override name = 'ConflictError';
  /** The latest event of the name, or null. */
  readonly current: Change | null = null;
}

/** Too much at once (429). Wait `retryAfter` seconds. */
export class RateLimitError extends BrokerError {
  override name = 'RateLimitError';
}

/** The server failed, or is too busy (5xx). */
export class ServerError extends BrokerError {
  override name = 'ServerError';
}

/** Refusals of a proxy that the same request will always get: it is too large, or its head is. */
const TOO_LARGE = [413, 414, 431];

/** The error that an answer stands for. `body` is that of a refusal, if it could be read. */
export function refusal(status: number, body: any, retryAfter?: unknown): BrokerError {
  const Kind =
    ({ 401: AuthError, 403: AuthError, 412: ConflictError, 429: RateLimitError } as Record<number, typeof BrokerError>)[status] ??
    (status > 499 ? ServerError : BrokerError);
  const code = body?.code ?? `status_${status}`;
  const error = new Kind(code, body?.error ?? code, status, bounded(retryAfter));
  // Broker's refusals have a code. One of a proxy or a captive portal says nothing of the request.
  if (!body?.code && !error.retryable && !TOO_LARGE.includes(status)) return new NetworkError(code, `another server has answered: ${status}`);
  return Object.assign(error, body?.current && { current: body.current });
}
