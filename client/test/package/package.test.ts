// Guards the package as it is packed: what is in it, its types in every way of resolving them, bundlers, and its command.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { publint } from 'publint';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CLIENT, makeProject, PACKED, type Project } from './project.js';

let project: Project;
beforeAll(async () => {
  project = await makeProject({}, ['react', 'react-dom', '@types/react', '@types/react-dom', '@types/node', 'typescript', 'undici-types']);
});
afterAll(() => project?.remove());

const read = (path: string) => readFileSync(join(project.folder, 'node_modules/broker-client', path), 'utf8');

describe('what is packed', () => {
  it('is what its users need, and no more', async () => {
    const files = (await project.run('tar', '-tzf', PACKED)).split('\n').filter(Boolean).map((path) => path.replace('package/', ''));
    for (const path of ['LICENSE', 'README.md', 'package.json', 'bin/broker-client.js', 'dist/index.js', 'dist/index.d.ts']) {
      expect(files).toContain(path);
    }
    const expected = /^(LICENSE|README\.md|package\.json|bin\/broker-client\.js|dist\/([\w/-]+)\.(js|d\.ts))$/;
    expect(files.filter((path) => !expected.test(path))).toEqual([]);
    const { dependencies, optionalDependencies } = JSON.parse(read('package.json'));
    expect([dependencies, optionalDependencies]).toEqual([undefined, undefined]);
  });

  it("says 'use client' at the top of the hooks, and nowhere else", () => {
    expect(read('dist/react/index.js')).toMatch(/^["']use client["'];\n/);
    expect(read('dist/index.js')).not.toContain('use client');
  });

  it('is flawless for publint', async () => {
    const { messages } = await publint({ pkgDir: join(project.folder, 'node_modules/broker-client'), pack: false, strict: true });
    expect(messages).toEqual([]);
  });

  it('has types that are found by every resolution of ES modules', async () => {
    const attw = join(CLIENT, 'node_modules/.bin/attw');
    const output = await promisify(execFile)(attw, [join(project.folder, PACKED), '--profile', 'esm-only', '--format', 'json']);
    const problems = Object.values(JSON.parse(output.stdout).problems as Record<string, { kind: string; resolutionKind: string }[]>).flat();
    // A package of ES modules alone has these two, for programs that know no ES modules.
    const known = ['node16-cjs CJSResolvesToESM', 'node10 NoResolution'];
    expect(problems.map(({ kind, resolutionKind }) => `${resolutionKind} ${kind}`).filter((problem) => !known.includes(problem))).toEqual([]);
  });
});

describe('types', () => {
  const compilerOptions = {
    strict: true,
    noEmit: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    skipLibCheck: false,
    jsx: 'react-jsx',
    target: 'es2022',
    lib: ['es2022', 'dom', 'dom.iterable'],
    types: [],
  };
  const tsc = (options: object) => {
    project.write('tsconfig.json', JSON.stringify({ compilerOptions: { ...compilerOptions, ...options }, include: ['*.ts', '*.tsx'] }));
    return project.run(process.execPath, 'node_modules/typescript/bin/tsc');
  };

  it.each([
    { module: 'nodenext', moduleResolution: 'nodenext' },
    { module: 'esnext', moduleResolution: 'bundler' },
  ])('are strict, and follow the names of events: $moduleResolution', async (options) => {
    project.write('events.tsx', readFileSync(join(import.meta.dirname, 'events.type-test.tsx'), 'utf8'));
    expect(await tsc(options)).toBe('');
  });
});

describe('bundles', () => {
  async function bundled(contents: string) {
    const stdin = { contents, resolveDir: project.folder };
    const { outputFiles } = await build({ stdin, bundle: true, minify: true, format: 'esm', write: false, external: ['react'], logLevel: 'error' });
    return outputFiles[0]!.text;
  }

  it('take only what is imported', async () => {
    const errors = await bundled("import { BrokerError } from 'broker-client'; console.log(BrokerError);");
    expect(gzipSync(errors).length).toBeLessThan(600);
    // What nobody else says.
    const [ofCore, ofDropIn, ofOutbox] = ['/subscription', 'lastEventID', 'indexedDB'];
    const core = await bundled("import { createClient } from 'broker-client'; console.log(createClient);");
    expect(core).toContain(ofCore);
    for (const other of [ofDropIn, ofOutbox]) expect(core).not.toContain(other);
    const dropIn = await bundled("import BrokerClient from 'broker-client'; console.log(BrokerClient);");
    expect(dropIn).toContain(ofDropIn);
    for (const other of [ofCore, ofOutbox]) expect(dropIn).not.toContain(other);
    const hooks = await bundled("import { useLatest } from 'broker-client/react'; console.log(useLatest);");
    for (const other of [ofCore, ofDropIn, ofOutbox]) expect(hooks).not.toContain(other);
    expect(await bundled("import 'broker-client'; import 'broker-client/outbox'; import 'broker-client/compat';")).toBe('');
  });
});

describe('in Node', () => {
  it('can be imported, and required', async () => {
    const names = "Object.keys(b).sort().slice(0, 3).join(), typeof b.default";
    expect(await project.run('node', '--input-type=module', '-e', `import * as b from 'broker-client'; console.log(${names})`)).toBe(
      'AuthError,BrokerError,ConflictError function\n',
    );
    const required = ['--experimental-require-module', '--no-warnings', '--input-type=commonjs', '-e'];
    expect(await project.run('node', ...required, `const b = require('broker-client'); console.log(${names})`)).toContain('BrokerError');
  });

  it('has its command', async () => {
    expect(await project.run('npx', '--offline', 'broker-client', '--help')).toContain('broker-client types --url');
    await expect(project.run('npx', '--offline', 'broker-client', 'types')).rejects.toThrow('the server is missing');
  });
});
