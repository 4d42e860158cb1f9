/** Gradient and divergence with both boundaries (specification §1.1, exact tests 1 and 2). */
import { describe, expect, it } from 'vitest';
import { models, ops, tensor, tidy } from '../../../src/index.js';
import { dot, normal, relativeError, values } from '../../support/numeric.js';

const { divergence, restrictField, spatialGradient } = models.tvflow;

describe('operators of the TV flow', () => {
  for (const boundary of ['natural', 'frame'] as const) {
    for (const [h, w] of [
      [5, 7],
      [1, 9],
      [8, 1],
      [2, 3],
      [16, 11],
    ] as const) {
      it(`${boundary}, ${h} × ${w}: divergence is the negative adjoint, and sums to 0`, () => {
        tidy(() => {
          const [u, phi] = [normal([3, h, w], 1), normal([3, 2, h, w], 2)];
          const [left, right] = [dot(spatialGradient(u, boundary), phi), -dot(u, divergence(phi, boundary))];
          expect(Math.abs(left - right)).toBeLessThan(1e-12 * Math.sqrt(dot(u, u) * dot(phi, phi)));
          expect(Math.abs(ops.sum(divergence(phi, boundary)).item())).toBeLessThan(1e-12 * Math.sqrt(dot(phi, phi)));
        });
      });
    }
  }

  it('natural: forward differences, the component along rows first', () => {
    tidy(() => {
      const u = tensor([
        [1, 3, 7],
        [2, 2, 9],
      ]);
      expect(spatialGradient(u).toArray()).toEqual([
        [
          [1, -1, 2],
          [0, 0, 0],
        ],
        [
          [2, 4, 0],
          [0, 7, 0],
        ],
      ]);
    });
  });

  it('frame: nothing crosses the first or last row and column, and restricted fields vanish on all four sides', () => {
    tidy(() => {
      const [u, phi] = [normal([4, 5], 1), normal([2, 4, 5], 2)];
      const g = values(spatialGradient(u, 'frame'));
      for (let j = 0; j < 5; j++) for (const i of [0, 3]) expect(Math.abs(g[i * 5 + j]!)).toBe(0);
      for (let i = 0; i < 4; i++) for (const j of [0, 4]) expect(Math.abs(g[20 + i * 5 + j]!)).toBe(0);
      const [restricted, whole] = [values(restrictField(phi, 'frame')), values(phi)];
      restricted.forEach((v, at) => {
        const [i, j] = [Math.floor((at % 20) / 5), at % 5];
        expect(v + 0).toBe(i > 0 && i < 3 && j > 0 && j < 4 ? whole[at] : 0);
      });
      // What the natural boundary sets to 0 never entered the divergence.
      expect(relativeError(divergence(restrictField(phi, 'natural')), divergence(phi))).toBe(0);
    });
  });
});
