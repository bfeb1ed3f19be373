// A project outside of this repository that has the package as its users get it: packed, and installed from the file.
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';

export const CLIENT = resolve(import.meta.dirname, '../..');
export const PACKED = 'broker-client-1.0.0.tgz';
const run = promisify(execFile);

export interface Project {
  readonly folder: string;
  /** Runs a program in it; gives its output, and fails with it. */
  run(program: string, ...args: string[]): Promise<string>;
  write(path: string, text: string): void;
  remove(): void;
}

/**
 * Makes a project with these files. `npm test` has built the package; `modules` are what else it needs, taken from where the tests
 * have it, so that nothing is loaded from the network.
 */
export async function makeProject(files: Record<string, string>, modules: string[] = [], from = CLIENT): Promise<Project> {
  const folder = mkdtempSync(join(tmpdir(), 'broker-project-'));
  const project: Project = {
    folder,
    async run(program, ...args) {
      try {
        const env = { ...process.env, NODE_ENV: undefined };
        return (await run(program, args, { cwd: folder, env, maxBuffer: 16 << 20 })).stdout;
      } catch (error) {
        const { message, stdout, stderr } = error as Error & { stdout: string; stderr: string };
        throw new Error([message, stdout, stderr].join('\n'));
      }
    },
    write(path, text) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), text);
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
  await run('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', folder], { cwd: CLIENT });
  project.write('package.json', JSON.stringify({ name: 'project', private: true, type: 'module' }));
  await project.run('npm', 'install', '--offline', '--ignore-scripts', '--no-audit', '--no-fund', `./${PACKED}`);
  for (const name of modules) {
    mkdirSync(dirname(join(folder, 'node_modules', name)), { recursive: true });
    symlinkSync(join(from, 'node_modules', name), join(folder, 'node_modules', name));
  }
  for (const [path, text] of Object.entries(files)) project.write(path, text);
  return project;
}

/** Copies an example into a project. */
export function copyExample(project: Project, name: string): void {
  cpSync(join(CLIENT, 'examples', name), project.folder, {
    recursive: true,
    filter: (path) => !path.includes('node_modules') && !path.endsWith('package.json'),
  });
}
