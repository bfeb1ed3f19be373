// The core: what `import { … } from 'broker-client'` gives.

export { createClient } from './client.js';
export * from './errors.js';
export type * from './types.js';

// The drop-in for 0.0.8.
export { default } from './compat/index.js';
