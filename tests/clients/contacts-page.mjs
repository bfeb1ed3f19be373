// A React page in headless Chromium that shows the contacts of the mobile broker, by the hooks of broker-client: what was requested,
// live, and the list of a phone's contacts.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { launch } from './chromium.mjs';

const APP = `
  import { StrictMode } from 'react';
  import { createRoot } from 'react-dom/client';
  import { createClient } from 'broker-client';
  import { BrokerProvider, useHistory, useLatest } from 'broker-client/react';

  function Contacts() {
    const { items } = useHistory('23412_contact_requested');
    const list = useLatest('68946_contact_list');
    return (
      <>
        {items.map(({ id, data }) => <p key={id}>requested by {data.contact}</p>)}
        <output>contacts: {JSON.stringify(list?.data)}</output>
      </>
    );
  }
  window.start = (url, token) => {
    const client = createClient({ url, auth: { token: () => token } });
    createRoot(document.body).render(
      <StrictMode><BrokerProvider client={client}><Contacts /></BrokerProvider></StrictMode>,
    );
    return client.ready('*');
  };
  `;

/** Opens the page for a user. Resolves when it is live, with what waits until it shows a text. */
export async function openPage(url, token) {
  const resolveDir = fileURLToPath(new URL('.', import.meta.url));
  const stdin = { contents: APP, loader: 'tsx', resolveDir };
  const { outputFiles } = await build({ stdin, bundle: true, format: 'esm', jsx: 'automatic', write: false });
  const site = createServer((request, response) => {
    const [type, body] =
      request.url === '/app.js'
        ? ['text/javascript', outputFiles[0].text]
        : ['text/html', '<!doctype html><link rel="icon" href="data:,"><body><script type="module" src="/app.js"></script>'];
    response.setHeader('content-type', type).end(body);
  }).listen(0, '127.0.0.1');
  await once(site, 'listening');
  const browser = await launch();
  const page = await browser.newPage();
  page.on('pageerror', ({ message }) => console.error('in the page:', message));
  page.on('console', (message) => message.type() === 'error' && console.error('in the page:', message.text()));
  await page.goto(`http://127.0.0.1:${site.address().port}/`);
  await page.evaluate(([url, token]) => window.start(url, token), [url, token]);
  return {
    shows: (text) => page.getByText(text, { exact: true }).waitFor({ timeout: 30_000 }),
    /** How many times it shows a text. */
    count: (text) => page.getByText(text, { exact: true }).count(),
    async close() {
      await browser.close();
      site.close();
    },
  };
}
