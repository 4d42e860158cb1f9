// `npm run lint`: Biome, clang-format (where it is installed) and the types of sources, tests, examples and benchmarks.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));

test('npm run lint passes', async () => {
  const lint = promisify(execFile)(process.execPath, ['scripts/lint.cjs'], { cwd: root, maxBuffer: 1 << 26 });
  const complaint = await lint.then(
    () => '',
    (error: { stdout?: string; stderr?: string }) => `${error.stdout ?? ''}${error.stderr ?? ''}`.slice(-4000),
  );
  expect(complaint).toBe('');
}, 180_000);
