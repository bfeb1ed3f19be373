// A user's program in a page that uses only the browser's own EventSource, which cannot send headers.

/** Does the same as `signIn` in user.mjs. `listen` contains the names of the events to report. */
export async function signIn({ url, stream, username, password, listen }, report) {
  const post = (path, body, headers) => fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) });
  const answer = await post('/login', { username, password });
  const { jwt } = await answer.json();
  report({ report: 'signed_in', status: answer.status });

  const authorization = `Bearer ${jwt}`;
  const { ticket } = await (await post('/sse_ticket', undefined, { authorization })).json();
  const source = new EventSource(`${stream}/sse?ticket=${ticket}`, { withCredentials: true });
  source.onopen = () => report({ report: 'opened' });
  source.onerror = () => report({ report: source.readyState === EventSource.CLOSED ? 'closed' : 'reconnecting' });
  const seen = (event) => report({ report: 'message', name: event.type, id: event.lastEventId, data: event.data });
  for (const name of listen) source.addEventListener(name, seen);

  return async (event, data) => {
    const answer = await post('/insert', { event, data }, { authorization });
    report({ report: 'inserted', status: answer.status, ...(await answer.json()) });
  };
}
