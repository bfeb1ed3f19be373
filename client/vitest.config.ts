import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.{ts,tsx}'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Each file may start servers of its own, and the machine may be small.
    maxWorkers: Number(process.env.CLIENT_TEST_WORKERS ?? 2),
  },
});
