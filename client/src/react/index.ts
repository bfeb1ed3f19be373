'use client';
// React 18 and 19: what `import { … } from 'broker-client/react'` gives.

export { BrokerProvider, type BrokerProviderProps, useClient } from './context.js';
export { type History, type HistoryHookOptions, useHistory } from './history.js';
export { useAll, useConnection, useLatest, usePresence, useSession } from './hooks.js';
export { useSuspenseAll, useSuspenseLatest } from './suspense.js';
export type { Events, Register } from './register.js';
export { type Inserts, type OutboxHook, useInsert, useOutbox } from './writes.js';
