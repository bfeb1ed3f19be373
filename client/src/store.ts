// Values that can be read at any time and tell when they change.

import type { Stop, Store } from './types.js';

/** Calls code of the application. What it throws is its own, and must not stop the rest. */
export function call<A extends unknown[]>(listener: (...args: A) => void, ...args: A): void {
  try {
    listener(...args);
  } catch (error) {
    setTimeout(() => {
      throw error;
    });
  }
}

export interface Emitter<A extends unknown[]> {
  /** Each call counts for itself, even with the same listener. */
  on(listener: (...args: A) => void): Stop;
  emit(...args: A): void;
  isUsed(): boolean;
}

export function createEmitter<A extends unknown[] = []>(): Emitter<A> {
  const listeners = new Set<{ listener: (...args: A) => void }>();
  return {
    on(listener) {
      const own = { listener };
      listeners.add(own);
      return () => void listeners.delete(own);
    },
    emit(...args) {
      // One that another has ended meanwhile is not called any more.
      for (const own of [...listeners]) if (listeners.has(own)) call(own.listener, ...args);
    },
    isUsed: () => listeners.size > 0,
  };
}

export interface Writable<T> extends Store<T> {
  set(value: T): void;
}

export function createStore<T>(value: T): Writable<T> {
  const { on, emit } = createEmitter();
  return {
    get: () => value,
    subscribe: on,
    set(next) {
      value = next;
      emit();
    },
  };
}

/** Resolves when this holds, at once or after one of the calls of a listener. */
export const when = (on: (listener: () => void) => Stop, holds: () => boolean): Promise<void> =>
  new Promise((resolve) => {
    const look = () => {
      if (!holds()) return;
      stop();
      resolve();
    };
    const stop = on(look);
    look();
  });

/** Ends both. */
export const both =
  (one: Stop, other: Stop): Stop =>
  () => {
    one();
    other();
  };

/** Waits for some milliseconds. */
export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Milliseconds that have passed, whatever the clock of the machine is set to. */
export const now = (): number => performance.now();

/** A channel to other tabs; undefined where there are none, or where the site may not store anything. */
export function openChannel(name: string): BroadcastChannel | undefined {
  try {
    return new BroadcastChannel(name);
  } catch {
    return;
  }
}

/** A random name, of digits: an idempotency key must not be guessed by accident, and not more. */
export function randomKey(): string {
  const bytes = new Uint8Array(16).map(() => Math.random() * 256);
  // `randomUUID` wants a secure context, and React Native has neither.
  (globalThis.crypto as Crypto | undefined)?.getRandomValues?.(bytes);
  return bytes.join('');
}
