// What must not travel with the repository: addresses of registries, paths of somebody's machine, build products.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));

function trackedFiles(): string[] {
  const list = execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' }).split('\0').filter(Boolean);
  return list.filter((file) => existsSync(join(root, file)) && statSync(join(root, file)).isFile());
}

const isBinary = (bytes: Buffer): boolean => bytes.subarray(0, 8000).includes(0);

// Split, so that this file does not contain what it looks for.
const forbidden: [string, RegExp][] = [
  ['a registry host', new RegExp(['registry\\.npm', 'js\\.org|registry\\.yarn', 'pkg\\.com|npm\\.pkg\\.git', 'hub'].join(''))],
  [
    'an absolute machine path',
    new RegExp(`(?<![\\w.~-])/(${['ho' + 'me', 'ro' + 'ot', 'wo' + 'rk', 'Us' + 'ers', 'm' + 'nt'].join('|')})/[\\w.]`),
  ],
];

describe('tracked files', () => {
  const files = trackedFiles();

  test('package-lock.json resolves nothing to an address', () => {
    const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
    const packages = Object.entries(lock.packages as Record<string, { resolved?: string; integrity?: string; link?: boolean }>);
    expect(packages.length).toBeGreaterThan(50);
    expect(packages.filter(([, entry]) => entry.resolved !== undefined).map(([name]) => name)).toEqual([]);
    // Without an address the checksum is what pins the content.
    expect(packages.filter(([name, entry]) => name !== '' && !entry.link && !entry.integrity).map(([name]) => name)).toEqual([]);
  });

  test.each(forbidden)('hold no %s', (_what, pattern) => {
    const hits: string[] = [];
    for (const file of files) {
      const bytes = readFileSync(join(root, file));
      if (isBinary(bytes)) continue;
      bytes
        .toString('utf8')
        .split('\n')
        .forEach((line, index) => {
          if (pattern.test(line)) hits.push(`${file}:${index + 1}: ${line.trim().slice(0, 120)}`);
        });
    }
    expect(hits).toEqual([]);
  });

  test('hold no build product and no large binary', () => {
    expect(
      files.filter((file) => /\.(node|o|a|so|dll|dylib|tgz|tsbuildinfo)$|^(build|dist|node_modules|prebuilds|runs)\//.test(file)),
    ).toEqual([]);
    expect(files.filter((file) => statSync(join(root, file)).size > 1 << 20)).toEqual([]);
  });

  test('are no symbolic links', () => {
    const modes = execFileSync('git', ['ls-files', '-s'], { cwd: root, encoding: 'utf8' }).split('\n');
    expect(modes.filter((line) => line.startsWith('120000'))).toEqual([]);
  });

  test('the patterns find what they are for', () => {
    const [host, path] = forbidden.map(([, pattern]) => pattern);
    expect(host?.test(`"resolved": "https://${['registry', 'npmjs', 'org'].join('.')}/zod"`)).toBe(true);
    expect(path?.test(`cd ${['', 'home', 'ada', 'tautgrad'].join('/')}`)).toBe(true);
    expect(path?.test('see ../shared/root/data and https://example.org/home/page')).toBe(false);
  });
});
