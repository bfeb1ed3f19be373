// An error tells what to do about it.

import { expect, test } from 'vitest';
import { createClient } from '../src/client.js';
import { AuthError, BrokerError, ConflictError, NetworkError, RateLimitError, refusal, ServerError } from '../src/errors.js';

test('a refusal becomes the class of its status, with its code', () => {
  expect(refusal(401, { error: 'no', code: 'unauthorized' })).toBeInstanceOf(AuthError);
  expect(refusal(403, { error: 'no', code: 'missing_scope' }).code).toBe('missing_scope');
  const conflict = refusal(412, { error: 'no', code: 'precondition_failed', current: { event: 'a' } }) as ConflictError;
  expect(conflict).toBeInstanceOf(ConflictError);
  expect(conflict.current!.event).toBe('a');
  const limited = refusal(429, { code: 'insert_rate_exceeded' }, 3) as RateLimitError;
  expect([limited.name, limited.retryAfter, limited.retryable]).toEqual(['RateLimitError', 3, true]);
  expect(refusal(503, undefined)).toBeInstanceOf(ServerError);
  expect(refusal(503, undefined)).toMatchObject({ code: 'status_503', retryable: true });
  expect(refusal(400, { code: 'filter_invalid' })).toMatchObject({ retryable: false, status: 400 });
  expect(new NetworkError()).toMatchObject({ retryable: true, status: 0, name: 'NetworkError' });
  expect(new NetworkError()).toBeInstanceOf(BrokerError);
});

test.each([undefined, '', '/', 'localhost:8080', 'ws://localhost:8080'])('an address that is none is said at once: %s', (url) => {
  expect(() => createClient({ url: url as string })).toThrow('`url` must be the address of Broker');
});
