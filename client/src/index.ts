// The core: what `import { … } from 'broker-client'` gives.

export * from './errors.js';
export type * from './types.js';
