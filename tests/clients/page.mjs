// Opens a page of the documentation in headless Chromium, and uses it. The arguments are a directory, which is served to the browser,
// and the file to open: HTML, or the App.tsx of a React app. If the page has a form to sign in, alice does, and if it has a field
// for a title, she adds one, which must show up. What the browser reports as an error goes to standard error, and the exit status is 1
// then.
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { basename, extname, join } from 'node:path';
import { build } from 'esbuild';
import { launch } from './chromium.mjs';

const [directory, file] = process.argv.slice(2);
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.css': 'text/css' };
const PATIENCE = 10_000;

/** The app as one script, rendered as `npm create vite` does: in strict mode, with React for development. */
async function bundleApp() {
  const contents = `
    import { StrictMode } from 'react';
    import { createRoot } from 'react-dom/client';
    import App from './App';
    createRoot(document.getElementById('root')).render(<StrictMode><App /></StrictMode>);`;
  const stdin = { contents, loader: 'tsx', resolveDir: directory };
  const { outputFiles } = await build({ stdin, bundle: true, format: 'esm', jsx: 'automatic', write: false });
  return outputFiles[0].text;
}

const made = new Map();
if (extname(file) === '.tsx') {
  made.set(file, '<!doctype html><div id="root"></div><script type="module" src="/bundle.js"></script>');
  made.set('bundle.js', await bundleApp());
  TYPES['.tsx'] = 'text/html';
}

const site = createServer(async (request, response) => {
  const name = basename(new URL(request.url, 'http://site').pathname);
  // Browsers ask for it whatever the page says.
  if (name === 'favicon.ico') return response.writeHead(204).end();
  try {
    const body = made.get(name) ?? (await readFile(join(directory, name)));
    response.setHeader('content-type', TYPES[extname(name)] ?? 'application/octet-stream').end(body);
  } catch {
    response.writeHead(404).end();
  }
}).listen(0, '127.0.0.1');
await once(site, 'listening');

const browser = await launch();
const page = await browser.newPage();
page.setDefaultTimeout(PATIENCE);
const error = (...words) => {
  console.error(...words);
  process.exitCode = 1;
};
page.on('console', (message) => message.type() === 'error' && error('console:', message.text(), message.location().url));
page.on('pageerror', ({ message }) => error('uncaught:', message));
page.on('response', (response) => response.status() >= 400 && error(response.status(), response.url()));
await page.goto(`http://localhost:${site.address().port}/${file}`);
// An event stream never becomes idle: a page has done by then what it does at its start.
await page.waitForTimeout(2000);

const use = async () => {
  const name = page.locator('input[name=username]');
  if (await name.count()) {
    await name.fill('alice');
    await page.locator('input[name=password]').fill('quiet Osprey 71 lantern');
    await page.locator('input[name=password]').press('Enter');
    await name.waitFor({ state: 'hidden' });
  }
  const title = page.locator('input[name=title]');
  if (await title.count()) {
    await title.fill('written in the browser');
    await title.press('Enter');
    await page.getByText('written in the browser').waitFor();
  }
};
await use().catch(({ message }) => error(message));
await browser.close();
site.close();
