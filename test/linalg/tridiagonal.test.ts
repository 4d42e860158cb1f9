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
  for (const n of [1, 2, 3, 31, 32, 33, 1000, 4095, 4096, 4097, 65_535, 65_536, 100_003, 1_000_000]) {
    it(`n = ${n}`, () => {
      tidy(() => {
        const lead = n > 5000 ? [1] : [3, 2];
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
        expect(residual(dl, general, du, z, b)).toBeLessThan(n > 5000 ? 1e-12 : 1e-13);
        const single = linalg.ptsv(ops.cast(positive, 'float32'), ops.cast(e, 'float32'), ops.cast(b, 'float32'));
        expect(residual(e, positive, e, ops.cast(single, 'float64'), b)).toBeLessThan(3e-7);
      });
    });
  }

  it('long systems on the brink of singularity: factors and solutions as good as in order', () => {
    tidy(() => {
      const n = 70_001;
      const f64 = (v: Float64Array): Tensor => tensor(v);
      const e = f64(new Float64Array(n - 1).fill(-1));
      const b = normal([n], 1);
      for (const shift of [0, 1e-8, 1e-3]) {
        const d = f64(new Float64Array(n).fill(2 + shift));
        expect(residual(e, d, e, linalg.ptsv(d, e, b), b)).toBeLessThan(1e-13);
        const { d: pivots, l } = linalg.pttrf(d, e);
        expect(residual(e, d, e, linalg.pttrs(pivots, l, b), b)).toBeLessThan(1e-13);
        const [p, factors] = [values(pivots), values(l)];
        let worst = 0;
        for (let k = 0; k + 1 < n; k++) {
          worst = Math.max(worst, Math.abs((factors[k] as number) * (p[k] as number) + 1));
          worst = Math.max(worst, Math.abs((p[k + 1] as number) + (factors[k] as number) ** 2 * (p[k] as number) - 2 - shift));
        }
        expect(worst).toBeLessThan(1e-14);
      }
      // Stretches that forget at once and stretches that hardly forget, in turn.
      for (const diagonal of [
        (i: number) => [2, 9, 2 + 1e-6, 3][Math.floor(i / 60 + i / 7001) % 4] as number,
        (i: number) => (i % 504 < 120 ? 9 : 2 + 1e-7),
        (i: number) => (i % 504 > 380 ? 9 : 2 + 1e-7),
      ]) {
        const patches = f64(Float64Array.from({ length: n }, (_, i) => diagonal(i)));
        expect(residual(e, patches, e, linalg.ptsv(patches, e, b), b)).toBeLessThan(1e-14);
        const { d: pivots, l } = linalg.pttrf(patches, e);
        expect(residual(e, patches, e, linalg.pttrs(pivots, l, b), b)).toBeLessThan(1e-14);
      }
      // Chunks of its middle are positive definite by themselves, the whole is not.
      const almost = f64(new Float64Array(n).fill(2 - 1e-4));
      expect(() => linalg.ptsv(almost, e, b)).toThrow(/pivot \d+ of system 0 is not/);
      expect(() => linalg.pttrf(almost, e)).toThrow(/pivot 31[0-9] of system 0 is not/);
      const broken = new Float64Array(n).fill(4);
      broken[50_000] = Number.NaN;
      expect(() => linalg.ptsv(f64(broken), e, b)).toThrow(/pivot 50001 of system 0/);
    });
  });

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
