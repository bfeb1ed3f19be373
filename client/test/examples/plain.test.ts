// Guards the example `plain`: a page without a build, which takes the package's files as they are installed.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { copyExample, makeProject, type Project } from '../package/project.js';
import { PASSWORD, type Server, startServer } from '../server.js';
import { openSite, type Pages, picture } from './site.js';

let server: Server;
let project: Project;
let site: Pages;

beforeAll(async () => {
  server = await startServer();
  await server.user('alice');
  project = await makeProject({});
  copyExample(project, 'plain');
  const page = readFileSync(join(project.folder, 'index.html'), 'utf8');
  project.write('index.html', page.replace('http://localhost:8080', server.url));
  site = await openSite(project.folder);
});

afterAll(async () => {
  await site?.close();
  project?.remove();
  await server?.stop();
});

it('signs in, shows a shared list, and comes back after a kill and a restart', async () => {
  const page = await site.open();
  await page.fill('[name=username]', 'alice');
  await page.fill('[name=password]', PASSWORD);
  await page.press('[name=password]', 'Enter');
  await page.getByText('Online: alice').waitFor();
  await page.fill('[name=title]', 'milk');
  await page.press('[name=title]', 'Enter');
  const token = await server.token('alice');
  const isDone = async () => (await server.as(token, '/events')).find(({ data }: { data: any }) => data.title === 'milk')?.data.done;
  await expect.poll(isDone).toBe(false);
  // When the page shows what came after it, it has it from the server. Else its change is refused at first, which the browser logs.
  await server.as(token, '/insert', { event: 'todo/1', data: { title: 'butter' } });
  await page.locator('li', { hasText: 'butter' }).waitFor();
  await page.locator('li', { hasText: 'milk' }).getByRole('checkbox').check();
  await expect.poll(isDone).toBe(true);
  await picture(page, 'plain');
  await server.kill();
  await page.getByText('Offline').waitFor();
  await server.start();
  await page.getByText('Offline').waitFor({ state: 'hidden' });
  await server.as(token, '/insert', { event: 'todo/2', data: { title: 'bread' } });
  await page.locator('li', { hasText: 'bread' }).waitFor();
  await page.locator('li', { hasText: 'bread' }).getByRole('button').click();
  await page.locator('li', { hasText: 'bread' }).waitFor({ state: 'detached' });
  expect(site.errors).toEqual([]);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.locator('#sign-in').waitFor();
});
