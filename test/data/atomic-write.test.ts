import { mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { checkWritable, writeFileAtomic } from '../../src/data/index.js';
import { temporaryFolder } from '../support/folders.js';

it('writes text, bytes and pieces', async () => {
  const path = join(temporaryFolder(), 'a');
  await writeFileAtomic(path, 'grüße');
  expect(readFileSync(path, 'utf8')).toBe('grüße');
  await writeFileAtomic(path, Uint8Array.of(1, 2));
  expect([...readFileSync(path)]).toEqual([1, 2]);
  await writeFileAtomic(path, [Uint8Array.of(3), new Uint8Array(0), Uint8Array.of(4, 5)]);
  expect([...readFileSync(path)]).toEqual([3, 4, 5]);
});

it('removes what killed writers of the same file left an hour ago, and nothing else', async () => {
  const folder = temporaryFolder();
  const old = ['.a.1234-0123abcd.tmp', '.b.1234-0123abcd.tmp', '.a.notes.tmp', '.a.1234-0123abcd.tmp.png'];
  for (const name of [...old, '.a.99-ffffffff.tmp']) writeFileSync(join(folder, name), '');
  for (const name of old) utimesSync(join(folder, name), new Date(), new Date(Date.now() - 2 * 3_600_000));
  await writeFileAtomic(join(folder, 'a'), 'new');
  expect(readdirSync(folder).sort()).toEqual([
    '.a.1234-0123abcd.tmp.png',
    '.a.99-ffffffff.tmp',
    '.a.notes.tmp',
    '.b.1234-0123abcd.tmp',
    'a',
  ]);
});

it('checks a path without touching it', async () => {
  const folder = temporaryFolder();
  await checkWritable(join(folder, 'new'));
  expect(readdirSync(folder)).toEqual([]);
  mkdirSync(join(folder, 'd'));
  await expect(checkWritable(join(folder, 'd'))).rejects.toThrow(`Cannot write ${join(folder, 'd')}: it is a folder`);
  await expect(checkWritable(join(folder, 'no', 'x'))).rejects.toThrow('does not exist');
});
