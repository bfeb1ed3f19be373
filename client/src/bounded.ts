/**
 * A wait that a server asks for, in seconds, of at most a day: timers that are set to more than 24 days end at once. A date,
 * which proxies write too, counts as none.
 */
export const bounded = (seconds: unknown): number => Math.min(Math.max(Number(seconds) || 0, 0), 86_400);
