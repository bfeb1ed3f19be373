// Errors as classes, so that a program can tell what to do about one.

import type { Change } from './types.js';

/** A request that failed. */
export class BrokerError extends Error {
  /** What went wrong, as in the server's table of errors; or `network`, `timeout`, `closed` and others of this package. */
  readonly code: string;
  /** The status of the answer; 0 if there was none. */
  readonly status: number;

  constructor(code: string, message: string, status = 0) {
    super(message);
    this.name = 'BrokerError';
    this.code = code;
    this.status = status;
  }

  /** Whether the same request may succeed later. */
  get retryable(): boolean {
    return this.status === 429 || this.status === 408 || this.status >= 500;
  }
}

/** There was no answer. Whether the request was carried out is not known. */
export class NetworkError extends BrokerError {
  constructor(code = 'network', message = 'the server cannot be reached') {
    super(code, message);
    this.name = 'NetworkError';
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
  readonly current: Change | null;

  constructor(code: string, message: string, status: number, current: Change | null) {
    super(code, message, status);
    this.current = current;
  }
}

/** Too much at once (429). */
export class RateLimitError extends BrokerError {
  override name = 'RateLimitError';
  /** Seconds to wait. */
  readonly retryAfter: number;

  constructor(code: string, message: string, status: number, retryAfter: number) {
    super(code, message, status);
    this.retryAfter = retryAfter;
  }
}

/** The server failed, or is too busy (5xx). */
export class ServerError extends BrokerError {
  override name = 'ServerError';
  /** Seconds to wait, if the server says so. */
  readonly retryAfter: number;

  constructor(code: string, message: string, status: number, retryAfter: number) {
    super(code, message, status);
    this.retryAfter = retryAfter;
  }
}

/** The error that an answer stands for. `body` is that of a refusal, if it could be read. */
export function refusal(status: number, body: any, retryAfter = 0): BrokerError {
  const code: string = body?.code ?? (status === 401 ? 'unauthorized' : `status_${status}`);
  const message: string = body?.error ?? `the server answered ${status}`;
  if (status === 401 || status === 403) return new AuthError(code, message, status);
  if (status === 412) return new ConflictError(code, message, status, body?.current ?? null);
  if (status === 429) return new RateLimitError(code, message, status, retryAfter);
  if (status >= 500) return new ServerError(code, message, status, retryAfter);
  return new BrokerError(code, message, status);
}
