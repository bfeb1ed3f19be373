// What is loaded beside the core: a page needs little of it, and nothing at its start.

export { default as account } from './account.js';
export { default as history } from './history.js';
export { renew } from './renewal.js';
export { default as supplied } from './supplied.js';
export { createWrites } from './writes.js';
