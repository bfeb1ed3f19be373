// Guards the example `board`: what its users do with it, in two browsers, through a kill and a restart of the server.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { CLIENT, copyExample, makeProject, type Project } from '../package/project.js';
import { PATIENCE } from '../patience.js';
import { PASSWORD, type Server, startServer } from '../server.js';
import { openSite, type Pages, picture } from './site.js';

const MODULES = ['react', 'react-dom', '@types/react', '@types/react-dom', 'typescript', 'vite', '@vitejs/plugin-react'];
let server: Server;
let project: Project;
let site: Pages;

beforeAll(async () => {
  server = await startServer(['--signup=open', '--signup_tenant=acme']);
  project = await makeProject({}, MODULES);
  copyExample(project, 'board');
  const app = readFileSync(join(project.folder, 'src/App.tsx'), 'utf8');
  project.write('src/App.tsx', app.replace('http://localhost:8080', server.url));
  await project.run(process.execPath, 'node_modules/typescript/bin/tsc');
  await project.run(process.execPath, 'node_modules/vite/bin/vite.js', 'build', '--logLevel', 'warn');
  site = await openSite(join(project.folder, 'dist'));
});

afterAll(async () => {
  await site?.close();
  project?.remove();
  await server?.stop();
});

const item = (page: Page, title: string) => page.locator('label', { has: page.getByText(title, { exact: true }) });

async function enter(page: Page, username: string, button: 'Sign in' | 'Sign up', password = PASSWORD) {
  await page.fill('[name=username]', username);
  await page.fill('[name=password]', password);
  await page.getByRole('button', { name: button }).click();
}

async function add(page: Page, title: string) {
  await page.fill('[name=title]', title);
  await page.press('[name=title]', 'Enter');
  await item(page, title).waitFor();
}

it('is the app of the guide, in at most 40 lines', () => {
  const app = readFileSync(join(CLIENT, 'examples/board/src/App.tsx'), 'utf8');
  const guide = readFileSync(join(CLIENT, '../docs/guide.md'), 'utf8');
  expect(guide).toContain(`\`\`\`tsx file=App.tsx\n${app}\`\`\`\n`);
  expect(app.split('\n').filter((line) => line.trim()).length).toBeLessThanOrEqual(40);
});

it('is shared by two people, and goes on through a kill and a restart of the server', async () => {
  const [alice, bob] = [await site.open(), await site.open()];
  await picture(alice, 'board-sign-in');
  await enter(alice, 'alice', 'Sign up');
  await enter(bob, 'bob', 'Sign up');
  for (const page of [alice, bob]) for (const name of ['alice', 'bob']) await page.locator('header b', { hasText: name }).waitFor();

  // Anybody in the tenant may insert anything. It must not break the page of all.
  const anything = [null, 'text', { title: { toString: null } }, { title: ['<img src=x onerror=alert(1)>'] }];
  for (const [at, data] of anything.entries()) await server.as(await server.token('bob'), '/insert', { event: `todo/${at}`, data });
  await expect.poll(() => alice.locator('label').count()).toBe(anything.length);
  for (const at of anything.keys()) await server.as(await server.token('bob'), '/remove', { event: `todo/${at}` });

  await add(alice, 'milk');
  await item(bob, 'milk').locator('small', { hasText: 'alice' }).waitFor();
  await item(bob, 'milk').getByRole('checkbox').click();
  await item(alice, 'milk').locator('small', { hasText: 'bob' }).waitFor();
  await expect.poll(() => item(alice, 'milk').getByRole('checkbox').isChecked()).toBe(true);

  // It is shown for four seconds.
  const typing = alice.getByText('bob is typing…').waitFor();
  await bob.locator('[name=title]').pressSequentially('but');
  await typing;
  await add(alice, 'bread');
  await add(bob, 'butter');
  await picture(alice, 'board');
  await item(alice, 'bread').getByRole('button').click();
  await item(bob, 'bread').waitFor({ state: 'detached' });
  // Bob's browser may not have sent it yet.
  await item(alice, 'butter').and(alice.locator(':not(.pending)')).waitFor();

  await server.kill();
  for (const page of [alice, bob]) await page.getByText('Offline').waitFor();
  await add(alice, 'bought on the way');
  await alice.getByText('Offline, 1 to be sent').waitFor();
  await expect.poll(() => item(alice, 'bought on the way').getAttribute('class')).toBe('pending');
  await picture(alice, 'board-offline');
  // What was shown, and what waits, are there again after a reload without a server.
  await alice.reload();
  for (const title of ['milk', 'butter', 'bought on the way']) await item(alice, title).waitFor();

  await server.start();
  await item(bob, 'bought on the way').waitFor();
  for (const page of [alice, bob]) await page.getByText('Offline').waitFor({ state: 'detached' });
  for (const page of [alice, bob]) {
    await expect.poll(() => page.locator('label span').allTextContents()).toEqual(['milk', 'butter', 'bought on the way']);
    await expect.poll(() => page.locator('.pending').count()).toBe(0);
  }
  const token = await server.token('bob');
  const { events } = await server.as(token, '/history?event=' + encodeURIComponent((await server.as(token, '/events')).at(-1).event));
  expect(events).toHaveLength(1);
  expect(site.errors).toEqual([]);
}, 3 * PATIENCE);

it('says why somebody is not let in, and lets out', async () => {
  const page = await site.open();
  await enter(page, 'carol', 'Sign up');
  await page.locator('header b', { hasText: 'carol' }).waitFor();
  await page.getByRole('button', { name: 'Sign out' }).click();
  const before = site.errors.length;
  await enter(page, 'carol', 'Sign in', 'a wrong Osprey 71 lantern');
  await page.getByRole('alert').filter({ hasText: /./ }).waitFor();
  // The browser itself logs the refusal.
  expect(site.errors.slice(before)).toEqual([expect.stringContaining('401')]);
  await enter(page, 'carol', 'Sign in');
  await page.locator('main').waitFor();
  // What is refused is said, and can be discarded.
  await page.fill('[name=title]', 'long '.repeat(50_000));
  await page.press('[name=title]', 'Enter');
  await page.getByRole('button', { name: 'Discard' }).click();
  await page.getByRole('button', { name: 'Discard' }).waitFor({ state: 'detached' });
});
