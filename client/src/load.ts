// Loading what stands beside the core.

import { NetworkError } from './errors.js';

/**
 * What `more.ts` has. Fails as a request does if it cannot be loaded. `createClient` begins with that at once: Firefox never asks again for
 * a file that it could not load, and those of an open page may be gone when a newer version of the page is published.
 */
export const loadMore = () => import('./more.js').catch(() => Promise.reject(new NetworkError()));
