/** Options of prox1d: the validity mask and the projected Newton method. */
import { describe, expect, it } from 'vitest';
import { Generator, grad, ops, type Tensor, tensor, tidy, tv } from '../../src/index.js';
import { values } from '../support/numeric.js';

const f64 = (data: number[], shape?: number[]): Tensor => tensor(Float64Array.from(data), shape ? { shape } : {});
const noise = (shape: number[], seed: number): Tensor => new Generator(seed).normal(shape, { dtype: 'float64' });
const worst = (a: number[], b: number[]): number => Math.max(...a.map((v, i) => Math.abs(v - (b[i] as number))));

describe('mask of prox1d', () => {
  it('cuts the line: each stretch of valid samples is solved by itself, the others are returned unchanged', () => {
    tidy(() => {
      const x = values(noise([20], 3));
      const mask = x.map((_, i) => (i === 0 || i === 7 || i === 8 || i === 15 ? 0 : 1));
      const y = values(tv.prox1d(f64(x), 0.7, { mask: f64(mask) }));
      for (const i of [0, 7, 8, 15]) expect(y[i]).toBe(x[i]);
      for (const [from, to] of [
        [1, 7],
        [9, 15],
        [16, 20],
      ] as const) {
        expect(worst(y.slice(from, to), values(tv.prox1d(f64(x.slice(from, to)), 0.7)))).toBeLessThanOrEqual(1e-14);
      }
    });
  });

  it('keeps what stands outside, NaN too, away from the valid samples, on any axis and with weights', () => {
    tidy(() => {
      const clean = noise([2, 9, 5], 4);
      const weights = ops.abs(noise([2, 8, 5], 5));
      const mask = tensor(
        Int32Array.from({ length: 9 }, (_, i) => (i === 4 ? 0 : 3)),
        { shape: [9, 1] },
      );
      const dirty = ops.select(ops.compare.ne(mask, 0), clean, Number.NaN);
      const [a, b] = [clean, dirty].map((x) => values(tv.prox1d(x, 0.4, { axis: 1, mask, weights })));
      a!.forEach((v, i) => {
        if (Math.floor(i / 5) % 9 === 4) expect(b![i]).toBeNaN();
        else expect(b![i]).toBe(v);
      });
    });
  });

  it('has gradient 1 outside and the mean of the segment inside', () => {
    const mask = f64([1, 1, 0, 1]);
    const g = grad((x: Tensor) => ops.sum(ops.mul(tv.prox1d(x, 100, { mask }), f64([1, 3, 5, 7]))))(f64([0, 1, 2, 3]));
    expect(values(g as Tensor)).toEqual([2, 2, 5, 7]);
  });

  it('refuses shapes that do not broadcast', () => {
    expect(() => tv.prox1d(f64([1, 2, 3]), 1, { mask: f64([1, 1]) })).toThrow(/Expected mask to broadcast to/);
  });
});

describe("method 'newton' of prox1d", () => {
  it('agrees with the direct method, weighted or not, on rows and columns', () => {
    tidy(() => {
      for (const [n, lambda] of [
        [1, 0.5],
        [2, 0.5],
        [32, 1],
        [33, 0.1],
        [200, 3],
        [64, 0],
        [40, 1e3],
      ] as const) {
        const x = noise([n, 6], n);
        const w = n > 1 ? ops.abs(noise([n - 1, 6], n + 1)) : undefined;
        for (const weights of w ? [undefined, w] : [undefined]) {
          const options = { axis: 0, ...(weights ? { weights } : {}) };
          const direct = values(tv.prox1d(x, lambda, options));
          const newton = values(tv.prox1d(x, lambda, { ...options, method: 'newton', tolerance: 1e-13 }));
          expect(worst(direct, newton)).toBeLessThanOrEqual(1e-5);
        }
      }
    });
  });

  it('takes infinite lambda, constants, and keeps NaN in its line', () => {
    tidy(() => {
      const newton = (x: number[][], lambda: number): number[] =>
        values(tv.prox1d(f64(x.flat(), [x.length, x[0]!.length]), lambda, { method: 'newton', tolerance: 1e-12 }));
      expect(worst(newton([[1, 2, 6]], Number.POSITIVE_INFINITY), [3, 3, 3])).toBeLessThanOrEqual(1e-12);
      expect(newton([[5, 5, 5]], 1)).toEqual([5, 5, 5]);
      const [nan, finite] = [
        newton(
          [
            [1, Number.NaN, 2],
            [0, 0, 3],
          ],
          1,
        ),
        newton([[0, 0, 3]], 1),
      ];
      expect(nan.slice(3)).toEqual(finite);
    });
  });

  it('a batch across lanes is its lines: any number, any layout, infinite and zero lambda, NaN, constants, steps that fail', () => {
    tidy(() => {
      for (const lines of [4, 16, 17, 37])
        for (const n of [1, 2, 3, 50]) {
          const samples = values(noise([lines, n], lines + n));
          samples.fill(7, n, 2 * n);
          samples[2 * n] = Number.NaN;
          const lambdas = Array.from({ length: lines }, (_, i) => [0.3, 1, 2, 0, Number.POSITIVE_INFINITY, 50][i % 6] as number);
          for (const axis of [-1, 0]) {
            for (const tolerance of [1e-2, 1e-12]) {
              const x = f64(samples, [lines, n]);
              const options = { method: 'newton', tolerance, axis } as const;
              const given = axis === 0 ? ops.transpose(x) : x;
              const y = tv.prox1d(given, f64(lambdas), options);
              const rows = values(axis === 0 ? ops.transpose(y) : y);
              for (let i = 0; i < lines; i++) {
                const one = f64(samples.slice(i * n, (i + 1) * n));
                const alone = values(tv.prox1d(one, lambdas[i] as number, { method: 'newton', tolerance }));
                alone.forEach((v, k) => {
                  const own = rows[i * n + k] as number;
                  expect(Number.isNaN(v) ? Number.isNaN(own) : Math.abs(own - v) < 1e-10).toBe(true);
                });
              }
            }
          }
        }
    });
  });

  it('stops at its tolerance: the objective exceeds the optimum by no more than the relative gap', () => {
    tidy(() => {
      const x = noise([300], 9);
      const objective = (y: Tensor): number => {
        const [a, b] = [values(y), values(x)];
        return a.reduce((s, v, i) => s + 0.5 * (v - b[i]!) ** 2 + (i > 0 ? 2 * Math.abs(v - a[i - 1]!) : 0), 0);
      };
      const best = objective(tv.prox1d(x, 2));
      for (const tolerance of [1e-2, 1e-4, 1e-6, 1e-9]) {
        const reached = objective(tv.prox1d(x, 2, { method: 'newton', tolerance }));
        expect(reached - best).toBeGreaterThanOrEqual(-1e-12 * best);
        expect(reached - best).toBeLessThanOrEqual(tolerance * reached + 1e-12 * best);
      }
    });
  });

  it('has the derivative of the direct method', () => {
    const x = noise([50], 2);
    const [direct, newton] = (['direct', 'newton'] as const).map((method) =>
      values(grad((v: Tensor) => ops.sum(ops.mul(tv.prox1d(v, 0.8, { method }), x)))(x) as Tensor),
    );
    expect(newton).toEqual(direct);
  });

  it('refuses what makes no sense', () => {
    const x = f64([1, 2, 3]);
    expect(() => tv.prox1d(x, 1, { method: 'newton', tolerance: 0 })).toThrow(/Expected a number > 0 for tolerance/);
    expect(() => tv.prox1d(x, 1, { method: 'newton', maxIterations: 0.5 })).toThrow(/Expected an integer >= 1 for maxIterations/);
    expect(() => tv.prox1d(x, 1, { method: 'fast' as 'direct' })).toThrow(/Expected 'direct' or 'newton' for method/);
    expect(() => tv.prox1d(x, 1, { tolerance: 1e-3 })).toThrow(/for method 'direct'/);
  });
});
