// The retained events of a name, page by page as they are read.

import { query } from './http.js';
import type { Change, HistoryOptions, RequestOptions } from './types.js';

export default async function* history(
  request: (path: string, options?: RequestOptions) => Promise<any>,
  more: RequestOptions,
  event: string,
  { order = 'newest', before, after, pageSize = 100 }: HistoryOptions = {},
): AsyncGenerator<Change> {
  const isWhole = (answer: any) => Array.isArray(answer.events);
  for (;;) {
    const { events, next } = await request(`/history?${query({ event, order, limit: pageSize, before, after })}`, Object.assign(more, { isWhole }));
    yield* events;
    if (!next) return;
    if (order === 'newest') before = next;
    else after = next;
  }
}
