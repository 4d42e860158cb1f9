// The build trees' lock: one build at a time, and no lock outlives its holder.
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, expect, test } from 'vitest';

const script = fileURLToPath(new URL('../../scripts/native-tree.cjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'tautgrad-lock-'));
const tree = join(folder, 'build');
afterAll(() => rmSync(folder, { recursive: true }));

const underLock = (body: string) =>
  promisify(execFile)(process.execPath, ['-e', `require(${JSON.stringify(script)}).locked(${JSON.stringify(tree)}, () => { ${body} })`]);

test('builds in one tree exclude each other', async () => {
  const log = join(folder, 'log');
  // Each holder writes an opening and, later, a closing letter: without the lock they would interleave.
  const body = (name: string) => `const fs = require('node:fs'); fs.appendFileSync(${JSON.stringify(log)}, '${name}');
    const end = Date.now() + 100; while (Date.now() < end); fs.appendFileSync(${JSON.stringify(log)}, '${name}');`;
  await Promise.all(['a', 'b', 'c', 'd'].map((name) => underLock(body(name))));
  expect(readFileSync(log, 'utf8')).toMatch(/^(?:(.)\1){4}$/);
  expect(existsSync(`${tree}.lock`)).toBe(false);
});

test.each([
  ['of a process that is gone', '4194303 1'],
  ['of an earlier process with the same number', `${process.pid} 1`],
])('a lock %s does not block', async (_what, content) => {
  if (process.platform !== 'linux' && content.startsWith(String(process.pid))) return; // no start times there
  writeFileSync(`${tree}.lock`, content);
  await underLock('');
  expect(existsSync(`${tree}.lock`)).toBe(false);
});
