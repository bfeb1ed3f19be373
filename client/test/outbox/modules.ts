export { NetworkError } from '../../src/errors.js';
export { send } from '../../src/http.js';
export * from '../../src/outbox/database.js';
export * from '../../src/outbox/outbox.js';
export * from '../../src/outbox/queue.js';
