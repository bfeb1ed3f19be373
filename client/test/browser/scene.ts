// What the tests of a file share: a server, a browser, and for each test two users in a tenant of its own.
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import { startServer, type Server, type UserFields } from '../server.js';
import { startBrowser, type Browser } from './browser.js';

export interface Scene {
  readonly server: Server;
  readonly browser: Browser;
  /** Two users, and a token of the second. */
  readonly alice: string;
  readonly bob: string;
  token: string;
}

/** What the server, the browser and the requests for users have besides what they always have. */
export interface SceneOptions {
  serverFlags?: string[];
  browserFlags?: string[];
  user?: UserFields;
}

/** Is there from the first hook of the file on. The pages of a test are closed after it. */
export function setScene({ serverFlags, browserFlags, user }: SceneOptions = {}): Scene {
  const scene = {} as { -readonly [K in keyof Scene]: Scene[K] };
  beforeAll(async () => {
    scene.server = await startServer(serverFlags);
    scene.browser = await startBrowser(browserFlags);
  });
  beforeEach(async ({ task }) => {
    Object.assign(scene, { alice: `alice${task.id}`, bob: `bob${task.id}` });
    for (const name of [scene.alice, scene.bob]) await scene.server.user(name, { tenant_name: task.id, ...user });
    scene.token = await scene.server.token(scene.bob);
  });
  afterEach(async () => {
    for (const page of scene.browser.context.pages()) await page.close();
    await scene.browser.context.unrouteAll();
    scene.browser.errors.length = 0;
  });
  afterAll(async () => {
    await scene.browser?.close();
    await scene.server?.stop();
  });
  return scene;
}
