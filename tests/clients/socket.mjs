// A user's program over WebSocket: npm's `ws` in Node, the browser's own in a page.
const WebSocket = globalThis.WebSocket ?? (await import('ws')).default;

/**
 * Does the same as `signIn` in user.mjs, over one connection, which it makes again with the last id when it is lost. `listen` are the
 * names to subscribe to, each by itself.
 */
export async function signIn({ url, stream, username, password, listen }, report) {
  const answer = await fetch(`${url}/login`, { method: 'POST', body: JSON.stringify({ username, password }) });
  const { jwt } = await answer.json();
  report({ report: 'signed_in', status: answer.status });

  const waiting = new Map();
  let ref = 0;
  let last, socket;
  const send = (verb, fields) =>
    new Promise((resolve, reject) => {
      waiting.set(++ref, { resolve, reject });
      socket.send(JSON.stringify({ do: verb, ref, ...fields }));
    });

  function open() {
    socket = new WebSocket(`${stream.replace('http', 'ws')}/ws`, 'broker.v1');
    socket.onerror = () => {};
    socket.onopen = async () => {
      // Sent together: nothing need be awaited.
      const asked = [send('sign_in', { token: jwt, events: listen.join(), after: last })];
      if (!last) asked.push(send('ping', {}), ...listen.map((events) => send('subscribe', { events })));
      await Promise.all(asked).then(() => report({ report: 'opened' }), () => {});
    };
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      if (frame.ref) {
        const { resolve, reject } = waiting.get(frame.ref);
        waiting.delete(frame.ref);
        if (frame.error) reject(new Error(frame.error));
        else resolve(frame.ok);
      } else if (frame.event) {
        last = frame.id;
        report({ report: 'message', name: frame.event, id: frame.id, data: JSON.stringify(frame.data) });
      }
    };
    socket.onclose = ({ code }) => {
      waiting.clear();
      if (code === 4401) return report({ report: 'closed' });
      report({ report: 'reconnecting' });
      setTimeout(open, 200);
    };
  }
  open();

  return async (event, data) => {
    const receipt = await send('insert', { event, data });
    report({ report: 'inserted', status: 200, ...receipt });
  };
}
