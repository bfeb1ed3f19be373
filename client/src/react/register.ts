import type { AnyEvents } from '../types.js';

/**
 * Gives the hooks the types of your events, once for the whole app:
 *
 * ```ts
 * declare module 'broker-client/react' { interface Register { events: Events } }
 * ```
 */
export interface Register {}

/** The events of the app: those of {@link Register}, or any. */
export type Events = Register extends { events: infer E } ? E : AnyEvents;
