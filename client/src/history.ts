// The retained events of a name, page by page as they are read.

import { query } from './http.js';
import type { Change, HistoryOptions, RequestOptions } from './types.js';

export const createHistory = (request: (path: string, options?: RequestOptions) => Promise<any>) =>
  async function* (event: string, { order = 'newest', before, after, pageSize = 100 }: HistoryOptions = {}): AsyncGenerator<Change> {
    // The next page is asked for by the same user.
    const more: RequestOptions = {};
    for (;;) {
      const { events, next } = await request(`/history?${query({ event, order, limit: pageSize, before, after })}`, more);
      yield* events;
      if (!next) return;
      if (order === 'newest') before = next;
      else after = next;
    }
  };
