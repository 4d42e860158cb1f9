/** Batched tridiagonal solves: residuals at many sizes, layouts and dtypes; LAPACK's meanings; refusals. */
import { describe, expect, it } from 'vitest';
import { linalg, ops, type Tensor, tensor, tidy } from '../../src/index.js';
import { normal, values } from '../support/numeric.js';

const cut = (x: Tensor, from: number, to: number): Tensor => ops.narrow(x, -1, from, to);

/** max |A x - b| / (|A| |x|), all in float64. */
function residual(dl: Tensor, d: Tensor, du: Tensor, x: Tensor, b: Tensor): number {
  return tidy(() => {
    const n = x.shape[x.rank - 1] as number;
    let y = ops.mul(d, x);
    let size = ops.abs(d);
    if (n > 1) {
      const ends = (low: number, high: number): [number, number][] => [
        ...x.shape.slice(0, -1).map((): [number, number] => [0, 0]),
        [low, high],
      ];
      y = ops.add(ops.add(y, ops.pad(ops.mul(du, cut(x, 1, n)), ends(0, 1))), ops.pad(ops.mul(dl, cut(x, 0, n - 1)), ends(1, 0)));
      size = ops.add(ops.add(size, ops.pad(ops.abs(du), ends(0, 1))), ops.pad(ops.abs(dl), ends(1, 0)));
    }
    const worst = ops.max(ops.abs(ops.sub(y, b))).item();
    return worst / (ops.max(size).item() * ops.max(ops.abs(x)).item());
  });
}

describe('tridiagonal solvers', () => {
  for (const n of [1, 2, 3, 31, 32, 33, 1000, 1_000_000]) {
    it(`n = ${n}`, () => {
      tidy(() => {
        const lead = n > 1000 ? [1] : [3, 2];
        const e = normal([...lead, n - 1], 1);
        const b = normal([...lead, n], 2);
        const d = ops.add(ops.abs(normal([...lead, n], 3)), 2.5);
        const positive = ops.add(d, 3);
        const x = linalg.ptsv(positive, e, b);
        expect(residual(e, positive, e, x, b)).toBeLessThan(1e-14);
        const { d: pivots, l } = linalg.pttrf(positive, e);
        expect(residual(e, positive, e, linalg.pttrs(pivots, l, b), b)).toBeLessThan(1e-14);
        const [dl, du] = [normal([...lead, n - 1], 4), normal([...lead, n - 1], 5)];
        // Not diagonally dominant: pivoting is needed.
        const general = normal([...lead, n], 6);
        const z = linalg.gtsv(dl, general, du, b);
        expect(residual(dl, general, du, z, b)).toBeLessThan(n > 1000 ? 1e-12 : 1e-13);
        const single = linalg.ptsv(ops.cast(positive, 'float32'), ops.cast(e, 'float32'), ops.cast(b, 'float32'));
        expect(residual(e, positive, e, ops.cast(single, 'float64'), b)).toBeLessThan(3e-7);
      });
    });
  }

  it('pttrf gives the factors of A = L D Lᵀ', () => {
    const { d, l } = linalg.pttrf(tensor([4, 5, 6], { dtype: 'float64' }), tensor([2, 1], { dtype: 'float64' }));
    expect(values(l)).toEqual([0.5, 0.25]);
    expect(values(d)).toEqual([4, 4, 5.75]);
  });

  it('says which pivot fails, and refuses wrong shapes', () => {
    const f = (v: number[]): Tensor => tensor(v, { dtype: 'float64' });
    expect(() => linalg.ptsv(f([1, -1]), f([0]), f([1, 1]))).toThrow(/positive definite .* pivot 2 of system 0/);
    expect(() => linalg.gtsv(f([0]), f([1, 0]), f([0]), f([1, 1]))).toThrow(/regular/);
    expect(() => linalg.ptsv(f([1, 1]), f([1, 1]), f([1, 1]))).toThrow(/^Expected shape \[1\] for e/);
    expect(() => linalg.gtsv(f([1]), tensor([1, 1]), f([1]), f([1, 1]))).toThrow(/dtype/);
  });
});
