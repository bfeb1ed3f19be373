// Runs a user's program in a page in headless Chromium. The page has a different origin than the server, so that the browser
// applies CORS.
//
// The argument is the program; the default is user.mjs. PAGE_PORT is the port of the page; the default is any free port.
// CHROMIUM names the browser. SCREENSHOT names a file for a screenshot of the page at the end.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { launch } from './chromium.mjs';
import { bundle, obey, report } from './host.mjs';

const PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>A page that uses Broker</title>
<link rel="icon" href="data:,">
<style>
  body { font: 14px/1.4 sans-serif; margin: 2rem }
  td { border-top: 1px solid #ccc; padding: .2rem 1rem .2rem 0; vertical-align: top }
  td:last-child { overflow-wrap: anywhere }
</style>
<h1>Events</h1>
<table></table>
<script type="module">
  import { signIn } from '/user.js';

  const row = (...cells) => {
    const row = document.querySelector('table').insertRow();
    for (const cell of cells) row.insertCell().textContent = cell;
  };
  // Parsing and formatting the data again makes the screenshot show it as a user would see it.
  const show = ({ name, id, data }) => row(name, id, JSON.stringify(JSON.parse(data)));
  window.start = async (settings) => {
    window.insert = await signIn(settings, (line) => {
      window.report(line);
      if (line.report === 'message') show(line);
    });
  };
</script>
`;

const script = await bundle('browser', process.argv[2]);
const site = createServer((request, response) => {
  const [type, body] = request.url === '/user.js' ? ['text/javascript', script] : ['text/html', PAGE];
  response.setHeader('content-type', type).end(body);
}).listen(Number(process.env.PAGE_PORT ?? 0), '127.0.0.1');
await once(site, 'listening');

const browser = await launch();
const page = await browser.newPage();
page.on('console', (message) => message.type() === 'error' && console.error('in the page:', message.text()));
page.on('pageerror', (error) => report({ report: 'failed', error: error.message }));
await page.exposeFunction('report', report);
await page.goto(`http://127.0.0.1:${site.address().port}/`);
await obey(async (settings) => {
  await page.evaluate((settings) => window.start(settings), settings);
  return (event, data) => page.evaluate(([event, data]) => window.insert(event, data), [event, data]);
});
if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT, fullPage: true });
await browser.close();
process.exit(0);
