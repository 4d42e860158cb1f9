/** What the README shows is what runs. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { grad, ops, randn, tensor, tv } from '../../src/index.js';
import { temporaryFolder } from '../support/folders.js';

const root = resolve(import.meta.dirname, '../..');
const readme = readFileSync(join(root, 'README.md'), 'utf8');

describe('README', () => {
  it('prints the example that is in examples/', () => {
    const example = readFileSync(join(root, 'examples/tv-layer.ts'), 'utf8').trim();
    expect(readme).toContain(`\`\`\`ts\n${example}\n\`\`\``);
  });

  it('the example trains', () => {
    // As JavaScript against the built package: types are checked with the rest of the sources.
    const compiled = join(temporaryFolder(), 'example.mjs');
    const source = readFileSync(join(root, 'examples/tv-layer.ts'), 'utf8').replace(/\((\w+): number, (\w+): number\)/, '($1, $2)');
    writeFileSync(compiled, source.replace("'tautgrad'", JSON.stringify(join(root, 'dist/index.js'))));
    const { status, stdout, stderr } = spawnSync(process.execPath, [compiled], { encoding: 'utf8' });
    expect(stderr).toBe('');
    expect(status).toBe(0);
    const losses = [...stdout.matchAll(/error ([\d.]+)/g)].map((m) => Number(m[1]));
    expect(losses.length).toBe(5);
    expect(losses[4]).toBeLessThan(0.25 * (losses[0] as number));
  });

  it('the short lines are true', () => {
    expect(tv.prox1d(tensor([0, 0, 5, 5]), 1).toArray()).toEqual([0.5, 0.5, 4.5, 4.5]);
    const image = randn([16, 16]);
    expect(tv.solve2d(image, 0.1, { tolerance: 1e-5 }).relativeGap[0]).toBeLessThanOrEqual(1e-5);
    // The sum of the image is kept whatever lambda is.
    expect(grad((lambda: ReturnType<typeof tensor>) => ops.sum(tv.prox2d(image, lambda)))(tensor(0.1)).item()).toBeCloseTo(0, 4);
  });
});
