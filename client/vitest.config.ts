import { resolve } from 'node:path';
import { defineConfig } from 'vitest/config';
import { PATIENCE } from './test/patience.js';

const ofReact18 = (name: string) => resolve(import.meta.dirname, 'test/react-18/node_modules', name);
const react = ['test/react/**/*.test.{ts,tsx}'];
const all = ['test/**/*.test.{ts,tsx}'];

export default defineConfig({
  test: {
    testTimeout: 2 * PATIENCE,
    hookTimeout: 2 * PATIENCE,
    expect: { poll: { timeout: PATIENCE } },
    setupFiles: ['test/setup.ts'],
    // Each file may start servers of its own, and the machine may be small.
    maxWorkers: Number(process.env.CLIENT_TEST_WORKERS ?? 2),
    projects: [
      { extends: true, test: { name: 'client', include: all, exclude: react } },
      { extends: true, test: { name: 'react 19', include: react } },
      // The same tests with the older React.
      {
        extends: true,
        test: { name: 'react 18', include: react },
        resolve: { alias: { react: ofReact18('react'), 'react-dom': ofReact18('react-dom') } },
      },
    ],
  },
});
