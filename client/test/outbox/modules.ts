export * from '../../src/outbox/database.js';
export * from '../../src/outbox/queue.js';
