/** prox2d's exact solutions, their derivatives, warm starts and masks. */
import { describe, expect, it } from 'vitest';
import { grad, jvp, ops, randn, seed, type Tensor, tensor, tidy, tv } from '../../src/index.js';
import { values } from '../support/numeric.js';

const f64 = (shape: number[], std = 1): Tensor => ops.mul(randn(shape, 'float64'), std);
const uniform = (shape: number[]): Tensor => ops.abs(f64(shape));
const closeTo = (a: readonly number[], b: readonly number[], tolerance: number): void => {
  expect(a.length).toBe(b.length);
  a.forEach((v, i) => {
    if (!(Math.abs(v - (b[i] as number)) <= tolerance)) expect.fail(`entry ${i}: ${v} against ${b[i]}`);
  });
};

describe('exact', () => {
  it('satisfies the optimality conditions with its dual, weighted or not, in both types', () => {
    seed(1);
    for (let trial = 0; trial < 12; trial++) {
      tidy(() => {
        const [h, w] = [3 + trial, 17 - trial];
        const weights = trial % 2 ? { weightsX: uniform([h, w - 1]), weightsY: uniform([h - 1, w]) } : {};
        const lambda = tensor([0.2, 0.9], { dtype: 'float64' });
        const x = f64([2, h, w]);
        const { y, dual, relativeGap } = tv.solve2d(x, lambda, { exact: true, ...weights });
        for (const gap of relativeGap) expect(gap).toBeLessThanOrEqual(1e-13);
        const bound = (axis: 'weightsX' | 'weightsY', shape: number[]): number[] => {
          const given = weights[axis];
          return values(
            ops.mul(ops.broadcastTo(given ?? ops.add(ops.sub(uniform(shape), uniform(shape)), 1), shape), ops.reshape(lambda, [2, 1, 1])),
          );
        };
        const right = ops.reshape(ops.slice(dual, [0, 0, 0, 0], [2, 1, h, w - 1]), [2, h, w - 1]);
        const below = ops.reshape(ops.slice(dual, [0, 1, 0, 0], [2, 1, h - 1, w]), [2, h - 1, w]);
        const z = ops.sub(x, ops.add(ops.differenceAdjoint(right, -1), ops.differenceAdjoint(below, -2)));
        closeTo(values(z), values(y), 1e-13);
        for (const [u, dy, limits] of [
          [values(right), values(ops.difference(y, -1)), weights.weightsX ? bound('weightsX', [2, h, w - 1]) : undefined],
          [values(below), values(ops.difference(y, -2)), weights.weightsY ? bound('weightsY', [2, h - 1, w]) : undefined],
        ] as const) {
          u.forEach((v, e) => {
            const limit = limits?.[e] ?? (e < u.length / 2 ? 0.2 : 0.9);
            expect(Math.abs(v)).toBeLessThanOrEqual(limit);
            if (dy[e] !== 0) expect(v).toBe(Math.sign(dy[e] as number) * limit);
          });
        }
        const narrow = values(tv.prox2d(ops.cast(x, 'float32'), ops.cast(lambda, 'float32'), { exact: true, ...weights }));
        closeTo(narrow, values(y), 1e-6);
      });
    }
  });

  it('is where the tolerances lead', () => {
    seed(2);
    tidy(() => {
      const x = f64([3, 40, 30]);
      const y = values(tv.prox2d(x, 0.4, { exact: true }));
      closeTo(values(tv.prox2d(x, 0.4, { tolerance: 1e-6 })), y, 2e-2);
      closeTo(values(tv.prox2d(x, 0.4, { tolerance: 1e-12 })), y, 1e-12);
    });
  });

  it('excludes the other ways to stop', () => {
    const x = tensor([[1, 2]]);
    expect(() => tv.prox2d(x, 1, { exact: true, tolerance: 1e-3 })).toThrow(
      'Expected at most one of tolerance, exact and iterations but received tolerance and exact',
    );
    expect(() => tv.prox2d(x, 1, { iterations: 4, tolerance: 1e-3 })).toThrow('but received tolerance and iterations');
    expect(() => tv.prox2d(x, 1, { exact: 1 as unknown as boolean })).toThrow('Expected a boolean for exact but received 1');
    expect(values(tv.prox2d(x, 0, { exact: false, iterations: 1 }))).toEqual([1, 2]);
  });
});

describe("method 'dykstra' and 'pixels'", () => {
  it('each reach their certified gap, weighted or not, warm or cold, small lambda or large', () => {
    seed(5);
    tidy(() => {
      const x = f64([2, 33, 41]);
      for (const weights of [{}, { weightsX: uniform([33, 40]), weightsY: uniform([32, 41]) }])
        for (const lambda of [0.05, 0.8]) {
          const exact = tv.solve2d(x, lambda, { exact: true, ...weights });
          for (const method of ['dykstra', 'pixels'] as const) {
            for (const tolerance of [1e-3, 1e-8])
              for (const init of [undefined, exact.dual]) {
                const s = tv.solve2d(x, lambda, { method, tolerance, ...weights, ...(init && { init }) });
                for (const k of [0, 1]) {
                  expect(s.relativeGap[k] as number).toBeLessThanOrEqual(tolerance);
                  const excess = (s.objective[k] as number) - (exact.objective[k] as number);
                  expect(excess).toBeGreaterThanOrEqual(-1e-10);
                  expect(excess).toBeLessThanOrEqual((s.gap[k] as number) + 1e-10);
                }
                if (init) expect(s.iterations[0] as number).toBeLessThan(15);
              }
            closeTo(values(tv.prox2d(x, lambda, { method, tolerance: 1e-12, ...weights })), values(exact.y), 1e-5);
          }
        }
    });
  });

  it("'auto' gives the descent up after 600 sweeps and goes on from its dual", () => {
    seed(6);
    tidy(() => {
      // Steep noise under weights just below what makes Dykstra the first choice: the descent alone needs thousands of sweeps.
      const x = f64([200, 200]);
      const lambda = 2 * values(ops.mean(ops.abs(ops.difference(x, -1))))[0]! * 0.98;
      const report = (options: tv.Prox2dOptions) => tv.solve2d(x, lambda, { tolerance: 6e-7, maxIterations: 3000, ...options });
      const [auto, pixels, dykstra] = [report({}), report({ method: 'pixels' }), report({ method: 'dykstra' })];
      expect(pixels.iterations[0] as number).toBeGreaterThan(600);
      expect(auto.iterations[0] as number).toBeGreaterThan(600);
      expect(auto.iterations[0] as number).toBeLessThan(pixels.iterations[0] as number);
      for (const s of [auto, dykstra]) expect(s.relativeGap[0] as number).toBeLessThanOrEqual(6e-7);
    });
  });

  it('are refused beside exact and iterations', () => {
    const x = tensor([[1, 2]]);
    expect(() => tv.prox2d(x, 1, { method: 'newton' as 'auto' })).toThrow("Expected 'auto', 'dykstra' or 'pixels' for method");
    expect(() => tv.prox2d(x, 1, { method: 'pixels', exact: true })).toThrow("Expected method 'auto' with exact or iterations");
  });
});

describe('warm starts', () => {
  it('save sweeps and change nothing else', () => {
    seed(3);
    tidy(() => {
      const x = f64([2, 60, 50]);
      const cold = tv.solve2d(x, 0.7);
      const next = ops.add(x, f64([2, 60, 50], 0.001));
      const warm = tv.solve2d(next, 0.7, { init: cold.dual });
      const again = tv.solve2d(next, 0.7);
      for (const k of [0, 1]) {
        expect(warm.iterations[k] as number).toBeLessThan(again.iterations[k] as number);
        expect(warm.relativeGap[k] as number).toBeLessThanOrEqual(1e-6);
      }
      const exact = tv.solve2d(next, 0.72, { exact: true, init: cold.dual });
      closeTo(values(exact.y), values(tv.prox2d(next, 0.72, { exact: true })), 1e-13);
      expect(exact.dual.shape).toEqual([2, 2, 60, 50]);
    });
  });

  it('want a dual of the image', () => {
    tidy(() => {
      const x = f64([4, 5]);
      const { dual } = tv.solve2d(x, 1);
      expect(() => tv.prox2d(x, 1, { init: ops.cast(dual, 'float32') })).toThrow('Expected a float64 tensor of shape [2, 4, 5] for init');
      expect(() => tv.prox2d(x, 1, { init: x })).toThrow('for init');
      expect(() => tv.prox2d(x, 1, { init: dual, iterations: 3 })).toThrow('Expected no init with iterations');
    });
  });
});

describe('masks', () => {
  it('part an image into independent ones and leave the rest alone', async () => {
    seed(4);
    const x = f64([9, 11]);
    const holes = x.toTypedArray();
    const mask = new Uint8Array(99).fill(1);
    for (let r = 0; r < 9; r++) {
      mask[r * 11 + 5] = 0;
      holes[r * 11 + 5] = r % 2 ? Number.NaN : 1e6;
    }
    const given = tensor(holes, { shape: [9, 11] });
    const options = { mask: tensor(mask, { shape: [9, 11] }) };
    tidy(() => {
      const part = (start: number, width: number): number[] =>
        values(tv.prox2d(ops.slice(x, [0, start], [9, width]), 0.3, { exact: true }));
      for (const y of [tv.prox2d(given, 0.3, { ...options, exact: true }), tv.prox2d(given, 0.3, { ...options, tolerance: 1e-10 })]) {
        closeTo(values(ops.slice(y, [0, 0], [9, 5])), part(0, 5), 1e-12);
        closeTo(values(ops.slice(y, [0, 6], [9, 5])), part(6, 5), 1e-12);
        expect(values(ops.slice(y, [0, 5], [9, 1]))).toEqual([...holes.filter((_, i) => i % 11 === 5)]);
      }
      expect(tv.solve2d(given, 0.3, { ...options, exact: true }).relativeGap[0]).toBeLessThanOrEqual(1e-13);
      expect(() => tv.prox2d(given, 0.3, { mask: tensor([1, 0]) })).toThrow('Expected mask to broadcast to [9, 11]');
    });
    const y = await tv.prox2dAsync(given, 0.3, { ...options, exact: true });
    expect(values(y)).toEqual(values(tv.prox2d(given, 0.3, { ...options, exact: true })));
  });

  it('pass the gradient of the pixels outside through, and keep weights', () => {
    seed(5);
    tidy(() => {
      const x = f64([6, 6]);
      const mask = ops.cast(ops.compare.gt(f64([6, 6]), -0.5), 'float32');
      const weights = { weightsX: uniform([6, 5]), weightsY: uniform([5, 6]) };
      const g = values(grad((v: Tensor) => ops.sum(tv.prox2d(v, 0.2, { mask, ...weights })))(x));
      closeTo(g, Array(36).fill(1), 1e-12); // averages keep sums, inside and outside
      const y = values(tv.prox2d(x, 0.2, { mask, exact: true, ...weights }));
      values(mask).forEach((m, i) => {
        if (m === 0) expect(y[i]).toBe(values(x)[i]);
      });
    });
  });
});

/**
 * Central differences of exact solutions with step 1e-6, along random directions. A draw is excluded when the pattern of equal neighbours
 * differs between the two ends: the derivative jumps between them.
 */
describe('implicit derivatives', () => {
  const STEP = 1e-6;

  interface Inputs {
    x: Tensor;
    rows: Tensor;
    cols: Tensor;
    wx: Tensor;
    wy: Tensor;
  }
  const solve = (v: Inputs, weighted: boolean): Tensor =>
    tv.prox2d(v.x, 0, {
      lambdaRows: v.rows,
      lambdaCols: v.cols,
      exact: true,
      ...(weighted && { weightsX: v.wx, weightsY: v.wy }),
    });
  const pattern = (y: Tensor): string =>
    [-1, -2]
      .map((axis) =>
        values(ops.difference(y, axis))
          .map((d) => (d === 0 ? '0' : d > 0 ? '+' : '-'))
          .join(''),
      )
      .join(' ');

  it('agree with central differences in x, the lambdas and the weights to 1e-6, at most 5 % of the draws excluded', () => {
    seed(6);
    const draws = 120;
    let excluded = 0;
    let worst = 0;
    for (let draw = 0; draw < draws; draw++) {
      tidy(() => {
        const [h, w] = [3 + (draw % 9), 3 + ((draw * 7) % 11)];
        const weighted = draw % 3 === 0;
        const point: Inputs = {
          x: f64([2, h, w]),
          rows: ops.add(ops.mul(uniform([2]), 0.3), 0.02),
          cols: ops.add(ops.mul(uniform([2]), 0.3), 0.02),
          wx: ops.add(uniform([2, h, w - 1]), 0.1),
          wy: ops.add(uniform([2, h - 1, w]), 0.1),
        };
        const direction = Object.fromEntries(Object.entries(point).map(([name, v]) => [name, f64([...v.shape])])) as unknown as Inputs;
        const c = f64([2, h, w]);
        const loss = (v: Inputs): Tensor => {
          const y = solve(v, weighted);
          return ops.sum(ops.mul(c, ops.add(y, ops.square(y))));
        };
        const moved = (t: number): Inputs =>
          Object.fromEntries(
            Object.entries(point).map(([name, v]) => [name, ops.add(v, ops.mul(direction[name as keyof Inputs], t))]),
          ) as unknown as Inputs;
        if (pattern(solve(moved(STEP), weighted)) !== pattern(solve(moved(-STEP), weighted))) {
          excluded++;
          return;
        }
        const difference = (loss(moved(STEP)).item() - loss(moved(-STEP)).item()) / (2 * STEP);
        const gradient = grad(loss)(point) as Inputs;
        const slope = Object.entries(gradient).reduce(
          (sum, [name, g]) => sum + ops.sum(ops.mul(g as Tensor, direction[name as keyof Inputs])).item(),
          0,
        );
        worst = Math.max(worst, Math.abs(slope - difference) / Math.max(1, Math.abs(difference)));
        const { tangent } = jvp((v: Tensor) => loss({ ...point, x: v }), [point.x], [direction.x]);
        expect((tangent as Tensor).item()).toBeCloseTo(ops.sum(ops.mul(gradient.x, direction.x)).item(), 9);
      });
    }
    expect(worst).toBeLessThan(1e-6);
    expect(excluded).toBeLessThanOrEqual(0.05 * draws);
  });

  it('in float32 are those of float64, whatever the tolerance', () => {
    seed(7);
    tidy(() => {
      const x = f64([20, 20]);
      const c = f64([20, 20]);
      const of = (dtype: 'float32' | 'float64', options: tv.Prox2dOptions): number[] => {
        const loss = (v: { x: Tensor; l: Tensor }): Tensor =>
          ops.sum(ops.mul(ops.cast(c, dtype), ops.square(tv.prox2d(v.x, v.l, options))));
        const g = grad(loss)({ x: ops.cast(x, dtype), l: tensor(0.3, { dtype }) }) as { x: Tensor; l: Tensor };
        return [...values(g.x), ...values(g.l)];
      };
      const exact = of('float64', { exact: true });
      closeTo(of('float64', { tolerance: 0.1 }), exact, 1e-12);
      closeTo(of('float32', {}), exact, 1e-4);
    });
  });
});
