// Builds `dist`: an ES module for each entry point, what they share in chunks of its own, and the declarations.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { build } from 'esbuild';

const entries = ['src/index.ts', 'src/react/index.ts', 'src/outbox/index.ts', 'src/compat/index.ts', 'src/cli/index.ts'];

rmSync('dist', { recursive: true, force: true });
const { metafile } = await build({
  entryPoints: entries.filter((path) => existsSync(path)),
  outbase: 'src',
  outdir: 'dist',
  bundle: true,
  splitting: true,
  format: 'esm',
  target: 'es2022',
  // Constants are put where they are used, which a bundler of users cannot do any more.
  minifySyntax: true,
  external: ['react', 'node:*'],
  chunkNames: 'shared/[name]-[hash]',
  logLevel: 'warning',
  metafile: true,
});
// A chunk that is imported only to be run has nothing to run, and bundlers warn of it: the package has no side effects.
for (const path of Object.keys(metafile.outputs)) {
  writeFileSync(path, readFileSync(path, 'utf8').replace(/^import "[^"]*\/chunk-[^"]*";\n/gm, ''));
}
execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], { stdio: 'inherit' });
