// Locks of a browser that are refused or never granted keep no tab from what it would do under them.

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { locked } from '../src/lock.js';
import { createTabs } from '../src/tabs.js';

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal('document', {});
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const stubLocks = (request: (...request: any[]) => unknown) => vi.stubGlobal('navigator', { locks: { request } });

function openTab() {
  const end = vi.fn();
  const onLead = vi.fn(() => end);
  const nothing = () => {};
  const tab = createTabs({ name: 'locks', isAlone: false, onLead, onLeader: nothing, onMessage: nothing, onWake: nothing, onPing: nothing });
  return { tab, onLead, end };
}

test('a tab whose lock is never granted leads itself after three seconds', async () => {
  stubLocks(() => new Promise(() => {}));
  const { tab, onLead, end } = openTab();
  await vi.advanceTimersByTimeAsync(2999);
  expect(onLead).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(1);
  expect(onLead).toHaveBeenCalledTimes(1);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(onLead).toHaveBeenCalledTimes(1);
  tab.close();
  expect(end).toHaveBeenCalledTimes(1);
  expect(vi.getTimerCount()).toBe(0);
});

test('a tab whose lock is refused leads itself at once', async () => {
  stubLocks(() => Promise.reject(new DOMException('this frame is in a sandbox', 'SecurityError')));
  const { tab, onLead } = openTab();
  await vi.advanceTimersByTimeAsync(0);
  expect(onLead).toHaveBeenCalledTimes(1);
  expect(vi.getTimerCount()).toBe(0);
  tab.close();
});

test.each([
  ['refused', () => Promise.reject(new DOMException('this frame is in a sandbox', 'SecurityError'))],
  ['none', undefined],
])('what needs a lock is done once where locks are %s', async (_, request) => {
  if (request) stubLocks(request);
  else vi.stubGlobal('navigator', {});
  const run = vi.fn(async () => 'done');
  expect(await locked('name', run)).toBe('done');
  expect(run).toHaveBeenCalledTimes(1);
});

test('a lock that another tab never gives back is waited for as long as the platform says, and then done without', async () => {
  const waits: [ms: number, end: AbortController][] = [];
  vi.spyOn(AbortSignal, 'timeout').mockImplementation((ms) => {
    waits.push([ms, new AbortController()]);
    return waits.at(-1)![1].signal;
  });
  stubLocks((_name, { ifAvailable, signal }: LockOptions, take) =>
    ifAvailable ? Promise.resolve(take(null)) : new Promise((_, reject) => signal!.addEventListener('abort', () => reject(signal!.reason))),
  );
  const run = vi.fn(async () => 'done');
  const done = locked('name', run);
  await vi.waitFor(() => expect(waits).toHaveLength(1));
  expect(run).not.toHaveBeenCalled();
  const [[ms, end]] = waits as [[number, AbortController]];
  // The server knows a refresh token that was used for ten seconds.
  expect(ms).toBeLessThan(10_000);
  end.abort();
  expect(await done).toBe('done');
  expect(run).toHaveBeenCalledTimes(1);
});
