// Builds `dist`: an ES module for each entry point, what they share in chunks of its own, and the declarations.
import { execFileSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { build } from 'esbuild';

const entries = ['src/index.ts', 'src/react/index.ts', 'src/outbox/index.ts', 'src/compat/index.ts', 'src/cli/index.ts'];

rmSync('dist', { recursive: true, force: true });
await build({
  entryPoints: entries.filter((path) => existsSync(path)),
  outbase: 'src',
  outdir: 'dist',
  bundle: true,
  splitting: true,
  format: 'esm',
  target: 'es2022',
  external: ['react', 'node:*'],
  chunkNames: 'shared/[name]-[hash]',
  logLevel: 'warning',
});
execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], { stdio: 'inherit' });
