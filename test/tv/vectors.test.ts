/** The certified inputs and outputs beside the repository. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ops, type Tensor, tensor, tidy, tv } from '../../src/index.js';
import { sharedFolder } from '../support/folders.js';
import { values } from '../support/numeric.js';

interface Case {
  name: string;
  kind: 'tv1d' | 'tv1d_weighted' | 'tv2d_aniso';
  shape: number[];
  lambda: number | null;
  lambda_x?: number;
  lambda_y?: number;
  weights: string | null;
  weights_x?: string | null;
  weights_y?: string | null;
  input: string;
  output: string;
  objective: number;
}

const folder = sharedFolder('vectors', 'tv') ?? '';
const present = folder !== '';
if (!present) console.warn('skipped: there are no certified vectors in ../shared/vectors/tv');
const cases: Case[] = present ? (JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as { cases: Case[] }).cases : [];

function load(file: string, shape: readonly number[]): Tensor {
  const bytes = readFileSync(join(folder, file));
  return tensor(new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)), { shape });
}

const worst = (a: Tensor, b: Tensor): number => values(a).reduce((m, v, i) => Math.max(m, Math.abs(v - (values(b)[i] as number))), 0);

describe.skipIf(!present)('certified vectors', () => {
  for (const c of cases) {
    const solve = (x: Tensor): Tensor => {
      if (c.kind === 'tv2d_aniso') {
        const [h, w] = c.shape as [number, number];
        return tv.prox2d(x, 0, {
          lambdaRows: c.lambda_x ?? 1,
          lambdaCols: c.lambda_y ?? 1,
          tolerance: x.dtype === 'float64' ? 1e-12 : 1e-7,
          ...(c.weights_x && { weightsX: load(c.weights_x, [h, w - 1]) }),
          ...(c.weights_y && { weightsY: load(c.weights_y, [h - 1, w]) }),
        });
      }
      return tv.prox1d(x, c.lambda ?? 1, c.weights ? { weights: load(c.weights, [(c.shape[0] as number) - 1]) } : {});
    };

    it(`${c.name} in float64`, () => {
      tidy(() => {
        const y = solve(load(c.input, c.shape));
        expect(worst(y, load(c.output, c.shape))).toBeLessThan(c.kind === 'tv2d_aniso' ? 1e-8 : 1e-10);
      });
    });

    it(`${c.name} in float32`, () => {
      tidy(() => {
        const x = load(c.input, c.shape);
        const range = values(x).reduce((m, v) => Math.max(m, v), -Infinity) - values(x).reduce((m, v) => Math.min(m, v), Infinity);
        const y = ops.cast(solve(ops.cast(x, 'float32')), 'float64');
        expect(worst(y, load(c.output, c.shape))).toBeLessThan(2e-6 * range);
      });
    });
  }
});
