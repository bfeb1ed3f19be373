// Reads the latest events of a tenant, page by page.
import { EXIT, Exit, refused } from './exit.js';
import type { Latest } from './names.js';

const PAGE = 1000;
const PATIENCE = 30_000;

export async function latestEvents(url: string, token: string, filter?: string): Promise<Latest[]> {
  const events: Latest[] = [];
  let after: string | null = null;
  do {
    const query = new URLSearchParams({ limit: String(PAGE) });
    if (filter !== undefined) query.set('events', filter);
    if (after !== null) query.set('after', after);
    const page: { events: Latest[]; next: string | null } | null = await get(`${url}/events?${query}`, token);
    // Pages go on after each other.
    if (!Array.isArray(page?.events) || (page.next !== null && page.next === after)) {
      throw new Exit(EXIT.failed, 'the answer has no page of events: is this Broker?', 'not_broker');
    }
    events.push(...page.events);
    after = page.next;
  } while (after !== null);
  return events;
}

async function get<T>(url: string, token: string): Promise<T> {
  let response: Response;
  let text: string;
  try {
    const headers = { authorization: `Bearer ${token}` };
    // A redirect could lead to another server.
    response = await fetch(url, { headers, redirect: 'error', signal: AbortSignal.timeout(PATIENCE) });
    text = await response.text();
  } catch (error) {
    const { cause, message } = error as Error;
    const why = cause instanceof Error ? cause.message || (cause as NodeJS.ErrnoException).code : message;
    throw new Exit(EXIT.unreachable, `${new URL(url).origin} cannot be reached: ${why}`, 'unreachable');
  }
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    throw new Exit(EXIT.failed, `the answer (status ${response.status}) is not JSON: is this Broker?`, 'not_broker');
  }
  if (response.ok) return answer as T;
  const { error = `status ${response.status}`, code = 'failed' } = answer as { error?: string; code?: string };
  throw refused(response.status, error, code);
}
