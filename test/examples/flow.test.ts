/** What docs/flow.md shows is what runs. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, it } from 'vitest';
import { distFile } from '../support/dist.js';
import { temporaryFolder } from '../support/folders.js';

const root = resolve(import.meta.dirname, '../..');
const source = readFileSync(join(root, 'examples/flow.ts'), 'utf8');

it('docs/flow.md prints the example that is in examples/', () => {
  expect(readFileSync(join(root, 'docs/flow.md'), 'utf8')).toContain(`\`\`\`ts\n${source.trim()}\n\`\`\``);
});

it('the example says what the page says', () => {
  const compiled = join(temporaryFolder(), 'example.mjs');
  writeFileSync(compiled, source.replace("'tautgrad'", JSON.stringify(pathToFileURL(distFile('index.js')).href)));
  const { status, stdout, stderr } = spawnSync(process.execPath, [compiled], { encoding: 'utf8' });
  expect(stderr).toBe('');
  expect(status).toBe(0);
  const variations = [...stdout.matchAll(/total variation ([\d.]+), error at most (\S+)/g)].map((m) => [Number(m[1]), Number(m[2])]);
  expect(variations.length).toBe(3);
  variations.forEach(([variation, bound], k) => {
    if (k > 0) expect(variation).toBeLessThan(variations[k - 1]?.[0] as number);
    expect(bound).toBeLessThanOrEqual(1e-3);
  });
  expect(stdout).toContain('3 × 64 × 64 values');
  expect(stdout).toContain('texture + structure is the image: true');
});
