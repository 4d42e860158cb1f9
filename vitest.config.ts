import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    environment: 'node',
    // Processes, not threads: tests set environment variables, change folders and count the native memory of their own process.
    pool: 'forks',
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // .ci/run counts from the file, which names each test.
    reporters: process.env.CI ? ['default', ['json', { outputFile: 'build/test-results.json' }]] : ['default'],
  },
});
