// What `broker-client/outbox` gives: plug-ins that keep things in the browser's database.

export { createCache, type CacheOptions } from './cache.js';
export { createOutbox, type OutboxOptions } from './outbox.js';
