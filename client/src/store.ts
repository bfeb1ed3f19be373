// Values that can be read at any time and tell when they change.

import type { Stop, Store } from './types.js';

/** Calls code of the application. What it throws is its own, and must not stop the rest. */
export function call<A extends unknown[]>(listeners: Iterable<(...args: A) => void>, ...args: A): void {
  for (const listener of [...listeners]) {
    try {
      listener(...args);
    } catch (error) {
      setTimeout(() => {
        throw error;
      });
    }
  }
}

/** Adds to a set. Each call counts for itself, even with the same listener. */
export function listen<F>(listeners: Set<{ call: F }>, call: F): Stop {
  const entry = { call };
  listeners.add(entry);
  return () => void listeners.delete(entry);
}

export interface Writable<T> extends Store<T> {
  set(value: T): void;
}

export function createStore<T>(value: T): Writable<T> {
  const listeners = new Set<{ call: () => void }>();
  return {
    get: () => value,
    subscribe: (listener) => listen(listeners, listener),
    set(next) {
      value = next;
      call([...listeners].map((entry) => entry.call));
    },
  };
}

/** Milliseconds that have passed, whatever the clock of the machine is set to. */
export const now = (): number => performance.now();

/** A random name: an idempotency key must not be guessed by accident, and not more. */
export function randomKey(): string {
  const bytes = new Uint8Array(16);
  // `randomUUID` wants a secure context, and React Native has neither.
  const { crypto } = globalThis as { crypto?: Partial<Crypto> };
  if (crypto?.getRandomValues) crypto.getRandomValues(bytes);
  else bytes.forEach((_, at) => (bytes[at] = Math.random() * 256));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
