// A user's program, which runs both in Node and in a page. It needs a bundler because of broker-client, which is published as
// ES modules that import each other without a file extension.
import BrokerClient from 'broker-client';

/**
 * Signs in, opens a stream, and reports everything that happens. Returns a function that inserts.
 *
 * `url` is the server. `stream` is the address for the stream: the server's, or that of a proxy.
 */
export async function signIn({ url, stream, username, password, listen }, report) {
  const post = (path, body, headers) =>
    fetch(url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
  const answer = await post('/login', { username, password });
  const { jwt } = await answer.json();
  report({ report: 'signed_in', status: answer.status });

  const authorization = `Bearer ${jwt}`;
  const client = new BrokerClient(`${stream}/sse`, { headers: { authorization } });
  // broker-client calls this for each read of the body, not only for the first.
  client.onopen = () => report({ report: 'read' });
  client.onclose = () => report({ report: 'closed' });
  const seen = (by) => (event) => report({ report: by, name: event.type, id: event.lastEventId, data: event.data });
  client.onmessage = seen('message');
  for (const name of listen) client.addEventListener(name, seen('listener'));

  return async (event, data) => {
    const answer = await post('/insert', { event, data }, { authorization });
    report({ report: 'inserted', status: answer.status, ...(await answer.json()) });
  };
}
