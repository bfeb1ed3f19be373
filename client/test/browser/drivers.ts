// Firefox and WebKit by the protocols that they have for tests: WebDriver BiDi, and the older WebDriver.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocket } from 'ws';

export interface Driver {
  /** Opens a page. */
  open(url: string): Promise<Tab>;
  close(): Promise<void>;
}

export interface Tab {
  /** The value of an expression, which may be a promise. Only what JSON can say comes through. */
  value<T = any>(expression: string): Promise<T>;
}

const asJson = (expression: string) => `Promise.resolve(${expression}).then((value) => JSON.stringify(value ?? null))`;

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

/** Starts Firefox without a window. Debian calls it `firefox-esr`. */
export async function startFirefox(path = process.env.FIREFOX ?? 'firefox-esr'): Promise<Driver> {
  const profile = mkdtempSync(join(tmpdir(), 'broker-firefox-'));
  const own = ['--headless', '--no-remote', '--profile', profile, '--remote-debugging-port=0', 'about:blank'];
  // It writes its address to one of both.
  const child = spawn(path, own, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, HOME: profile, MOZ_CRASHREPORTER_DISABLE: '1' } });
  const address = await new Promise<string>((resolve, reject) => {
    let log = '';
    const read = (part: Buffer) => {
      log += part;
      const found = /WebDriver BiDi listening on (ws:\/\/\S+)/.exec(log);
      if (found) resolve(found[1]!);
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`Firefox has ended:\n${log}`)));
  });
  const socket = new WebSocket(`${address}/session`);
  await once(socket, 'open');
  const waiting = new Map<number, (answer: any) => void>();
  socket.on('message', (data) => {
    const answer = JSON.parse(String(data));
    waiting.get(answer.id)?.(answer);
  });
  let last = 0;
  const send = (method: string, params: object = {}) =>
    new Promise<any>((resolve, reject) => {
      const id = ++last;
      waiting.set(id, (answer) => {
        waiting.delete(id);
        if (answer.type === 'success') resolve(answer.result);
        else reject(new Error(`${method}: ${answer.error} ${answer.message}`));
      });
      socket.send(JSON.stringify({ id, method, params }));
    });
  await send('session.new', { capabilities: {} });
  return {
    async open(url) {
      const { context } = await send('browsingContext.create', { type: 'tab' });
      await send('browsingContext.navigate', { context, url, wait: 'complete' });
      return {
        async value(expression) {
          const target = { context };
          const { result, exceptionDetails } = await send('script.evaluate', { expression: asJson(expression), target, awaitPromise: true });
          if (exceptionDetails) throw new Error(exceptionDetails.text);
          return JSON.parse(result.value);
        },
      };
    },
    async close() {
      socket.close();
      await end(child);
      rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    },
  };
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as { port: number };
  probe.close();
  await once(probe, 'close');
  return port;
}

/** Debian has it below the folder of its architecture, and that of its version. */
function miniBrowser(): string | undefined {
  const folders = readdirSync('/usr/lib').flatMap((name) => ['4.1', '4.0', '6.0'].map((version) => `/usr/lib/${name}/webkit2gtk-${version}`));
  return folders.map((folder) => `${folder}/MiniBrowser`).find((path) => existsSync(path));
}

/** Starts the browser of WebKitGTK on a screen of its own. Debian has them in `webkit2gtk-driver` and `xvfb`. */
export async function startWebKit(): Promise<Driver> {
  const home = mkdtempSync(join(tmpdir(), 'broker-webkit-'));
  const screen = spawn('Xvfb', ['-displayfd', '1', '-screen', '0', '1024x768x24', '-nolisten', 'tcp'], { stdio: ['ignore', 'pipe', 'ignore'] });
  const [display] = await once(screen.stdout, 'data');
  const port = await freePort();
  const env = {
    ...process.env,
    HOME: home,
    XDG_RUNTIME_DIR: home,
    DISPLAY: `:${String(display).trim()}`,
    // There is neither a graphics card nor a session bus, and the page is trusted.
    WEBKIT_DISABLE_COMPOSITING_MODE: '1',
    WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: '1',
    LIBGL_ALWAYS_SOFTWARE: '1',
  };
  const child = spawn('WebKitWebDriver', [`--port=${port}`], { stdio: 'ignore', env, detached: true });
  const url = `http://127.0.0.1:${port}`;
  const send = async (method: string, path: string, body?: object) => {
    const reply = await fetch(url + path, { method, ...(body && { body: JSON.stringify(body) }) });
    const { value } = (await reply.json()) as { value: any };
    if (!reply.ok) throw new Error(`${path}: ${value.error} ${value.message}`);
    return value;
  };
  for (let isUp = false; !isUp; ) {
    if (child.exitCode !== null) throw new Error('WebKitWebDriver has ended');
    isUp = await send('GET', '/status').then(() => true, () => false);
    if (!isUp) await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const options = { binary: miniBrowser(), args: ['--automation'] };
  const capabilities = { alwaysMatch: { 'webkitgtk:browserOptions': options } };
  const { sessionId } = await send('POST', '/session', { capabilities });
  const session = `/session/${sessionId}`;
  let isFirst = true;
  return {
    async open(url) {
      const { handle } = isFirst ? { handle: await send('GET', `${session}/window`) } : await send('POST', `${session}/window/new`, { type: 'tab' });
      isFirst = false;
      await send('POST', `${session}/window`, { handle });
      await send('POST', `${session}/url`, { url });
      return {
        async value(expression) {
          await send('POST', `${session}/window`, { handle });
          const script = `const done = arguments[0]; ${asJson(expression)}.then((text) => done([text]), (error) => done([null, String(error)]));`;
          const [text, error] = await send('POST', `${session}/execute/async`, { script, args: [] });
          if (error) throw new Error(error);
          return JSON.parse(text);
        },
      };
    },
    async close() {
      await send('DELETE', session).catch(() => undefined);
      await end(child);
      await end(screen);
      rmSync(home, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    },
  };
}
