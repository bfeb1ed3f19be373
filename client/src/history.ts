// The retained events of a name, page by page as they are read.

import type { Change, HistoryOptions, RequestOptions } from './types.js';

export function createHistory(request: (path: string, options?: RequestOptions) => Promise<any>) {
  return async function* (event: string, { order = 'newest', before, after, pageSize = 100 }: HistoryOptions = {}): AsyncGenerator<Change> {
    for (;;) {
      const fields = { event, order, limit: pageSize, before, after };
      const query = Object.entries(fields).flatMap(([name, value]) => (value === undefined ? [] : `${name}=${encodeURIComponent(value)}`));
      const { events, next } = await request(`/history?${query.join('&')}`);
      yield* events;
      if (!next) return;
      if (order === 'newest') before = next;
      else after = next;
    }
  };
}
