/** Exact properties of the proximal maps (specification of the TV layers, §5, tests 1 to 4). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ops, type Tensor, tensor, tidy, tv } from '../../src/index.js';
import { values } from '../support/numeric.js';
import { gridEdges, solveOnGraph } from '../support/prox-oracle.js';

fc.configureGlobal({ seed: 20260101, numRuns: 150 });

const sample = fc.oneof(fc.double({ min: -1, max: 1, noNaN: true }), fc.integer({ min: -3, max: 3 }), fc.constant(0));
const scale = fc.integer({ min: -6, max: 6 }).map((e) => 10 ** e);
const lambdaOf = fc.oneof(fc.double({ min: 0, max: 3, noNaN: true }), fc.constant(0), fc.constant(0.5));
const line = fc.array(sample, { minLength: 1, maxLength: 40 });
const weightOf = fc.oneof(fc.double({ min: 0, max: 2, noNaN: true }), fc.constant(0), fc.constant(50));
const weightedLine = line.chain((x) => fc.tuple(fc.constant(x), fc.array(weightOf, { minLength: x.length - 1, maxLength: x.length - 1 })));

const f64 = (data: number[], shape?: number[]): Tensor => tensor(Float64Array.from(data), shape ? { shape } : {});
const spread = (x: readonly number[]): number => Math.max(...x.map(Math.abs), 1e-300);

function prox(x: number[], lambda: number, weights?: number[]): number[] {
  return tidy(() => values(tv.prox1d(f64(x), lambda, weights && weights.length > 0 ? { weights: f64(weights) } : {})));
}
const closeTo = (a: number[], b: number[], tolerance: number): void => {
  a.forEach((v, i) => {
    expect(Math.abs(v - (b[i] as number))).toBeLessThanOrEqual(tolerance);
  });
};

/** The certificate of §5.2: the running residual is a feasible dual that sits at its bound on every jump. */
function checkKkt(x: number[], y: number[], bounds: number[], tolerance: number): void {
  let u = 0;
  for (let k = 0; k < x.length; k++) {
    u += (x[k] as number) - (y[k] as number);
    if (k === x.length - 1) {
      expect(Math.abs(u)).toBeLessThanOrEqual(tolerance);
      break;
    }
    const bound = bounds[k] as number;
    const jump = (y[k + 1] as number) - (y[k] as number);
    expect(Math.abs(u)).toBeLessThanOrEqual(bound + tolerance);
    // y pulled up by its right neighbour: u = x - y summed is -bound there.
    if (jump !== 0) expect(Math.abs(u + Math.sign(jump) * bound)).toBeLessThanOrEqual(tolerance);
  }
}

describe('prox1d', () => {
  it('carries its KKT certificate, weighted or not, at every scale', () => {
    fc.assert(
      fc.property(weightedLine, lambdaOf, scale, fc.boolean(), ([x, w], lambda, c, weighted) => {
        const scaled = x.map((v) => v * c);
        const y = prox(scaled, lambda * c, weighted ? w : undefined);
        const bounds = w.map((v) => lambda * c * (weighted ? v : 1));
        const total = scaled.reduce((s, v) => s + Math.abs(v), 0) + Math.max(0, ...bounds.filter((b) => b < 1e3 * c));
        checkKkt(scaled, y, bounds, 4e-15 * (total + c) * Math.max(1, Math.log2(x.length)));
      }),
    );
  });

  it('lambda 0 is the identity; from lambdaMax on it is the mean', () => {
    fc.assert(
      fc.property(line, scale, (raw, c) => {
        const x = raw.map((v) => v * c);
        closeTo(prox(x, 0), x, 0);
        const mean = x.reduce((a, b) => a + b, 0) / x.length;
        const largest = tidy(() => tv.lambdaMax(f64(x), { dims: 1 }).item());
        for (const lambda of [largest * (1 + 1e-12), 1e30, Number.POSITIVE_INFINITY])
          closeTo(
            prox(x, lambda),
            x.map(() => mean),
            1e-14 * spread(x) * x.length,
          );
        if (largest > 1e-12 * c) expect(new Set(prox(x, largest * 0.99)).size).toBeGreaterThan(1);
      }),
    );
  });

  it('is equivariant to shifts, signs, reversal and scaling, keeps the mean, and is firmly non-expansive', () => {
    fc.assert(
      fc.property(line, line, lambdaOf, fc.double({ min: -5, max: 5, noNaN: true }), scale, (x, other, lambda, shift, c) => {
        const y = prox(x, lambda);
        const tolerance = 1e-13 * (spread(x) + Math.abs(shift) + 1);
        closeTo(
          prox(
            x.map((v) => v + shift),
            lambda,
          ),
          y.map((v) => v + shift),
          tolerance,
        );
        closeTo(
          prox(
            x.map((v) => -v),
            lambda,
          ),
          y.map((v) => -v),
          tolerance,
        );
        closeTo(prox([...x].reverse(), lambda), [...y].reverse(), tolerance);
        closeTo(
          prox(
            x.map((v) => v * c),
            lambda * c,
          ).map((v) => v / c),
          y,
          tolerance,
        );
        expect(Math.abs(y.reduce((a, b) => a + b, 0) - x.reduce((a, b) => a + b, 0))).toBeLessThanOrEqual(tolerance * x.length);
        const z = x.map((v, i) => (other[i] ?? 0) + 0 * v);
        const pz = prox(z, lambda);
        // |p - q|² <= <p - q, x - z>
        const inner = y.reduce((s, v, i) => s + (v - (pz[i] as number)) * ((x[i] as number) - (z[i] as number)), 0);
        const square = y.reduce((s, v, i) => s + (v - (pz[i] as number)) ** 2, 0);
        expect(square).toBeLessThanOrEqual(inner + 1e-12 * x.length);
      }),
    );
  });

  it('agrees with an independent dual solver', () => {
    fc.assert(
      fc.property(fc.array(sample, { minLength: 2, maxLength: 12 }), fc.double({ min: 0.01, max: 1, noNaN: true }), (x, lambda) => {
        const edges = x.slice(1).map((_, k) => ({ from: k, to: k + 1, bound: lambda }));
        closeTo(prox(x, lambda), solveOnGraph(x, edges, 20_000), 1e-7);
      }),
      { numRuns: 40 },
    );
  });

  it('a batch is its lines, along any axis, in float32 too', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 37 }),
        fc.integer({ min: 1, max: 1000 }),
        lambdaOf,
        (a, n, b, seed, lambda) => {
          tidy(() => {
            const x = noise([a, n, b], seed);
            const along = values(tv.prox1d(x, lambda, { axis: 1 }));
            const moved = tv.prox1d(ops.transpose(x, [0, 2, 1]), lambda);
            expect(values(ops.transpose(moved, [0, 2, 1]))).toEqual(along);
            const all = values(x);
            for (const [i, j] of [
              [0, 0],
              [a - 1, b - 1],
            ] as const) {
              const at = (k: number): number => (i * n + k) * b + j;
              const alone = prox(
                Array.from({ length: n }, (_, k) => all[at(k)] as number),
                lambda,
              );
              closeTo(
                alone,
                Array.from({ length: n }, (_, k) => along[at(k)] as number),
                1e-13,
              );
            }
            const single = values(tv.prox1d(ops.cast(x, 'float32'), lambda, { axis: 1 }));
            closeTo(single, along, 2e-6 * Math.max(1, spread(all)));
          });
        },
      ),
      { numRuns: 60 },
    );
  });

  it('takes one lambda per line, per channel, or for all', () => {
    tidy(() => {
      const x = noise([2, 3, 5, 7], 4);
      const lambdas = [0.1, 0.5, 2];
      const y = values(tv.prox1d(x, tensor(lambdas, { dtype: 'float64' })));
      const perChannel = lambdas.map((l) => values(tv.prox1d(x, l)));
      y.forEach((v, i) => {
        expect(v).toBe(perChannel[Math.floor(i / 35) % 3]![i]);
      });
      const perLine = tensor(
        Float64Array.from({ length: 30 }, (_, i) => 0.1 * i),
        { shape: [2, 3, 5, 1] },
      );
      const z = values(tv.prox1d(x, perLine));
      expect(z.slice(7 * 11, 7 * 12)).toEqual(values(tv.prox1d(x, 0.1 * 11)).slice(7 * 11, 7 * 12));
    });
  });

  it('keeps NaN and infinity inside their line', () => {
    tidy(() => {
      const clean = noise([40, 33], 5);
      const dirty = clean.toTypedArray();
      dirty[7 * 33 + 4] = Number.NaN;
      dirty[21 * 33] = Number.POSITIVE_INFINITY;
      dirty[22 * 33 + 32] = Number.NEGATIVE_INFINITY;
      const [want, got] = [values(tv.prox1d(clean, 0.4)), values(tv.prox1d(tensor(dirty, { shape: [40, 33] }), 0.4))];
      for (let l = 0; l < 40; l++)
        if (![7, 21, 22].includes(l)) expect(got.slice(l * 33, (l + 1) * 33)).toEqual(want.slice(l * 33, (l + 1) * 33));
      expect(got.slice(7 * 33, 8 * 33).some(Number.isNaN)).toBe(true);
    });
  });
});

describe('prox2d', () => {
  it('agrees with an independent dual solver, and its gap bounds its excess', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 1000 }),
        fc.double({ min: 0.02, max: 1, noNaN: true }),
        (h, w, seed, lambda) => {
          tidy(() => {
            const x = noise([h, w], seed);
            const want = solveOnGraph(values(x), gridEdges(h, w, lambda, lambda), 20_000);
            closeTo(values(tv.prox2d(x, lambda, { tolerance: 1e-13 })), want, 1e-6);
            const objective = (y: readonly number[]): number => {
              const t = f64([...y], [h, w]);
              return 0.5 * values(ops.sub(t, x)).reduce((s, v) => s + v * v, 0) + lambda * tv.totalVariation(t).item();
            };
            for (const tolerance of [1e-2, 1e-6]) {
              const solution = tv.solve2d(x, lambda, { tolerance });
              const excess = objective(values(solution.y)) - objective(want);
              expect(excess).toBeLessThanOrEqual((solution.gap[0] as number) + 1e-12);
              expect(Math.abs((solution.objective[0] as number) - objective(values(solution.y)))).toBeLessThan(
                1e-10 * (1 + objective(want)),
              );
              expect(solution.relativeGap[0]).toBeLessThanOrEqual(tolerance);
            }
          });
        },
      ),
      { numRuns: 40 },
    );
  });

  it('lambda 0 is the identity, a huge lambda gives the mean, from lambdaMax on', () => {
    tidy(() => {
      const x = noise([2, 9, 7], 6);
      expect(values(tv.prox2d(x, 0))).toEqual(values(x));
      const means = values(ops.mean(x, { axes: [1, 2] }));
      const largest = values(tv.lambdaMax(x, { dims: 2 }));
      for (const factor of [1.001, 100]) {
        const y = values(
          tv.prox2d(
            x,
            tensor(
              largest.map((l) => l * factor),
              { dtype: 'float64' },
            ),
            { tolerance: 1e-13 },
          ),
        );
        closeTo(
          y,
          y.map((_, i) => means[Math.floor(i / 63)] as number),
          1e-6,
        );
      }
      const below = tv.prox2d(
        x,
        tensor(
          largest.map((l) => l * 0.98),
          { dtype: 'float64' },
        ),
        { tolerance: 1e-13 },
      );
      for (const range of values(ops.sub(ops.max(below, { axes: [1, 2] }), ops.min(below, { axes: [1, 2] }))))
        expect(range).toBeGreaterThan(1e-3);
    });
  });

  it('is equivariant to shifts, signs, transposition and scaling', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 12 }),
        fc.integer({ min: 2, max: 12 }),
        fc.integer({ min: 1, max: 1000 }),
        scale,
        (h, w, seed, c) => {
          tidy(() => {
            const x = noise([h, w], seed);
            const solve = (v: Tensor, lambda: number): Tensor => tv.prox2d(v, lambda, { tolerance: 1e-13 });
            const y = values(solve(x, 0.3));
            closeTo(
              values(solve(ops.add(x, 2), 0.3)),
              y.map((v) => v + 2),
              1e-6,
            );
            closeTo(
              values(solve(ops.neg(x), 0.3)),
              y.map((v) => -v),
              1e-6,
            );
            closeTo(values(ops.transpose(solve(ops.transpose(x), 0.3))), y, 1e-6);
            closeTo(
              values(solve(ops.mul(x, c), 0.3 * c)).map((v) => v / c),
              y,
              1e-6,
            );
          });
        },
      ),
      { numRuns: 30 },
    );
  });

  it('with iterations is algorithm 1 of the paper, and reduces to one sweep along the only axis', () => {
    tidy(() => {
      const x = noise([3, 8, 9], 8);
      let y = x;
      let p = ops.sub(x, x);
      let q = p;
      for (let k = 0; k < 4; k++) {
        const z = tv.prox1d(ops.add(y, p), 0.2);
        p = ops.sub(ops.add(y, p), z);
        const next = tv.prox1d(ops.add(z, q), 0.2, { axis: -2 });
        q = ops.sub(ops.add(z, q), next);
        y = next;
      }
      closeTo(values(tv.prox2d(x, 0.2, { iterations: 4 })), values(y), 1e-13);
      const row = noise([1, 30], 9);
      closeTo(values(tv.prox2d(row, 0.2)), values(tv.prox1d(row, 0.2)), 1e-12);
    });
  });

  it('takes weights and separate lambdas', () => {
    tidy(() => {
      const x = noise([6, 5], 10);
      const none = ops.sub(x, x);
      const y = values(tv.prox2d(x, 0, { lambdaRows: 0.3, lambdaCols: 0 }));
      closeTo(y, values(tv.prox1d(x, 0.3)), 1e-9);
      const cut = tv.prox2d(x, 0.3, {
        weightsX: ops.add(ops.slice(none, [0, 0], [6, 4]), 1),
        weightsY: ops.slice(none, [0, 0], [5, 5]),
        tolerance: 1e-12,
      });
      closeTo(values(cut), values(tv.prox1d(x, 0.3)), 1e-9);
    });
  });
});

describe('rof', () => {
  it('agrees with an independent subgradient-free check: its certified gap closes and 1D images are prox1d', () => {
    tidy(() => {
      const x = noise([2, 12, 10], 11);
      const { gap, relativeGap } = tv.solveRof(x, 0.2, { tolerance: 1e-9 });
      for (const g of relativeGap) expect(g).toBeLessThanOrEqual(1e-9);
      for (const g of gap) expect(g).toBeGreaterThanOrEqual(-1e-12);
      const row = noise([1, 25], 12);
      closeTo(values(tv.rof(row, 0.3, { tolerance: 1e-12 })), values(tv.prox1d(row, 0.3)), 1e-5);
      expect(values(tv.rof(x, 0))).toEqual(values(x));
    });
  });

  it('is equivariant to scaling and keeps the mean', () => {
    tidy(() => {
      const x = noise([9, 8], 13);
      const y = values(tv.rof(x, 0.1, { tolerance: 1e-12 }));
      closeTo(
        values(tv.rof(ops.mul(x, 1e-6), 1e-7, { tolerance: 1e-12 })).map((v) => v * 1e6),
        y,
        1e-5,
      );
      expect(Math.abs(y.reduce((a, b) => a + b, 0) - values(x).reduce((a, b) => a + b, 0))).toBeLessThan(1e-10);
    });
  });
});

function noise(shape: number[], seed: number): Tensor {
  let state = seed * 2654435761 + 12345;
  const size = shape.reduce((a, b) => a * b, 1);
  const data = Float64Array.from({ length: size }, () => {
    state = (Math.imul(state ^ (state >>> 15), 2246822519) + 3266489917) | 0;
    return (state >>> 0) / 2 ** 32 - 0.5;
  });
  return tensor(data, { shape });
}
