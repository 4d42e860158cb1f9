// Runs the native tests (test/native/*_test.cpp) as they are shipped, under the address and undefined-behaviour sanitizers, and the
// thread pool's under the thread sanitizer; each executable is one test here. `npm run test:native` is the direct way.
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const names = readdirSync(fileURLToPath(new URL('.', import.meta.url)))
  .filter((file) => file.endsWith('_test.cpp'))
  .map((file) => file.replace('.cpp', ''));
const MINUTE = 60_000;

/** Asynchronous, so that the test runner's own heartbeat goes on during a long compilation. */
async function script(file: string, args: string[]): Promise<string> {
  try {
    const { stderr } = await promisify(execFile)(process.execPath, [`${root}scripts/${file}`, ...args], { cwd: root, maxBuffer: 1 << 28 });
    return stderr;
  } catch (error) {
    throw new Error((error as { stderr?: string }).stderr?.slice(-8000) ?? String(error));
  }
}

describe.each([
  ['as shipped', '', names],
  ['address and undefined-behaviour sanitizers', 'address', names],
  ['thread sanitizer', 'thread', names.filter((name) => /thread_pool|memory/.test(name))],
])('native tests, %s', (_title, sanitize, tests) => {
  const option = sanitize ? ['--sanitize', sanitize] : [];
  beforeAll(() => script('build-native.cjs', sanitize ? option : ['--tests']), 15 * MINUTE);

  test.each(tests)(
    '%s',
    async (name) => {
      const output = await script('test-native.cjs', [...option, `^${name}(\\.|$)`]);
      expect(output).toMatch(/100% tests passed, 0 tests failed out of [1-9]/);
    },
    10 * MINUTE,
  );
});
