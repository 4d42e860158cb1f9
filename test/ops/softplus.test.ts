/** Softplus: derivatives beyond the rows of primitives.test.ts. */
import { describe, expect, it } from 'vitest';
import { jvp, ones, ops, type Tensor, tensor, tidy } from '../../src/index.js';
import { values } from '../support/numeric.js';

type Function1 = (x: Tensor) => Tensor;
const derivative =
  (f: Function1): Function1 =>
  (x) =>
    jvp(f, [x] as const, [ones(x.shape, x.dtype)] as const).tangent;

describe('softplus', () => {
  it('has its derivatives of every order, with and without the kernel', () => {
    tidy(() => {
      const points = [-30, -3, -0.5, 0, 0.5, 2, 30];
      const x = tensor(points, { dtype: 'float64' });
      const expected = points.map((v) => {
        const s = v < 0 ? Math.exp(v) / (1 + Math.exp(v)) : 1 / (1 + Math.exp(-v));
        const p = Math.exp(-Math.abs(v)) / (1 + Math.exp(-Math.abs(v))) ** 2;
        return [s, p, p * (1 - 2 * s), p * (1 - 6 * p), p * (1 - 2 * s) * (1 - 12 * p)];
      });
      let f: Function1 = ops.softplus;
      for (let order = 1; order <= 5; order++) {
        f = derivative(f);
        values(f(x)).forEach((v, i) => {
          expect(Math.abs(v - expected[i]![order - 1]!), `order ${order} at ${points[i]}`).toBeLessThan(1e-14);
        });
      }
    });
  });

  it('keeps the relative precision of small slopes in float32', () => {
    tidy(() => {
      const x = tensor([-80, -20, 20, 80]);
      const slope = values(derivative(ops.softplus)(x));
      const second = values(derivative(derivative(ops.softplus))(x));
      for (const [i, v] of [-80, -20].entries()) {
        expect(Math.abs(slope[i]! / Math.exp(v) - 1)).toBeLessThan(1e-5);
        expect(Math.abs(second[i]! / Math.exp(v) - 1)).toBeLessThan(1e-5);
        expect(Math.abs(second[3 - i]! / Math.exp(v) - 1)).toBeLessThan(1e-5);
      }
      const special = values(derivative(ops.softplus)(tensor([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])));
      expect(special[0]).toBeNaN();
      expect(special.slice(1)).toEqual([1, 0]);
    });
  });
});
