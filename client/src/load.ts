// Loading what few pages need at their start.

import { NetworkError } from './errors.js';

/** What the module is about. Fails as a request does if it cannot be loaded. */
export const load = <T>(module: Promise<{ default: T }>): Promise<T> =>
  module.then(
    (loaded) => loaded.default,
    () => Promise.reject(new NetworkError()),
  );
