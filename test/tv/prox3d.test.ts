/** Anisotropic total variation of volumes: agreement with images, an independent solver, certificates, derivatives. */
import { describe, expect, it } from 'vitest';
import { grad, jvp, ops, type Tensor, tensor, tidy, tv } from '../../src/index.js';
import { dot, normal, positive, relativeError, values } from '../support/numeric.js';
import { solveOnGraph } from '../support/prox-oracle.js';

const worst = (a: Tensor, b: Tensor): number => values(ops.abs(ops.sub(a, b))).reduce((m, v) => Math.max(m, v), 0);
const f64 = (v: number | number[]): Tensor => tensor(v, { dtype: 'float64' });
const tight = { tolerance: 1e-13 };

/** Edges of a volume with a bound per axis, times the weights where there are some. */
function edgesOf([d, h, w]: readonly number[], bounds: number[], weights: (Tensor | undefined)[]) {
  const [D, H, W] = [d as number, h as number, w as number];
  const data = weights.map((v) => v && values(v));
  const edges: { from: number; to: number; bound: number }[] = [];
  for (let a = 0; a < D; a++)
    for (let b = 0; b < H; b++)
      for (let c = 0; c < W; c++) {
        const i = (a * H + b) * W + c;
        const at = (k: number, entry: number): number => (bounds[k] as number) * ((data[k]?.[entry] as number) ?? 1);
        if (a + 1 < D) edges.push({ from: i, to: i + H * W, bound: at(0, (a * H + b) * W + c) });
        if (b + 1 < H) edges.push({ from: i, to: i + W, bound: at(1, (a * (H - 1) + b) * W + c) });
        if (c + 1 < W) edges.push({ from: i, to: i + 1, bound: at(2, (a * H + b) * (W - 1) + c) });
      }
  return edges;
}

describe('prox3d', () => {
  it('agrees with an independent dual solver, weighted, per axis; its gap bounds its excess', () => {
    tidy(() => {
      const shape = [4, 5, 6];
      const x = normal(shape, 1);
      const weights = [positive([3, 5, 6], 2), undefined, positive([4, 5, 5], 3)];
      const bounds = [0.2, 0.35, 0.1];
      const options = {
        lambdaDepth: 0.2,
        lambdaHeight: 0.35,
        lambdaWidth: 0.1,
        weightsDepth: weights[0] as Tensor,
        weightsWidth: weights[2] as Tensor,
      };
      const want = solveOnGraph(values(x), edgesOf(shape, bounds, weights), 30_000);
      const y = values(tv.prox3d(x, 0, { ...options, ...tight }));
      want.forEach((v, i) => {
        expect(Math.abs(v - (y[i] as number))).toBeLessThan(1e-6);
      });
      const exact = tv.solve3d(x, 0, { ...options, ...tight });
      for (const dtype of ['float64', 'float32'] as const)
        for (const tolerance of [1e-2, 1e-5]) {
          const s = tv.solve3d(ops.cast(x, dtype), 0, { ...options, tolerance });
          expect(s.relativeGap[0]).toBeLessThanOrEqual(tolerance);
          const excess = (s.objective[0] as number) - (exact.objective[0] as number);
          expect(excess).toBeLessThanOrEqual((s.gap[0] as number) + (dtype === 'float32' ? 1e-5 : 1e-10));
          expect(s.gap[0]).toBeGreaterThanOrEqual(0);
        }
    });
  });

  it('is prox2d where one axis has extent 1, and prox1d where two have', () => {
    tidy(() => {
      const x = normal([7, 9], 4);
      const y = tv.prox2d(x, 0.4, tight);
      for (const shape of [
        [1, 7, 9],
        [7, 1, 9],
        [7, 9, 1],
      ])
        expect(worst(ops.reshape(tv.prox3d(ops.reshape(x, shape), 0.4, tight), [7, 9]), y)).toBeLessThan(1e-6);
      const line = normal([30], 5);
      for (const shape of [
        [1, 1, 30],
        [1, 30, 1],
        [30, 1, 1],
      ])
        expect(worst(ops.reshape(tv.prox3d(ops.reshape(line, shape), 0.5, tight), [30]), tv.prox1d(line, 0.5))).toBeLessThan(1e-9);
    });
  });

  it('lambda 0 is the identity, a huge one gives the mean; scales, shifts, signs, axes; non-expansive', () => {
    tidy(() => {
      const x = normal([5, 4, 6], 6);
      expect(values(tv.prox3d(x, 0))).toEqual(values(x));
      for (const lambda of [100, Number.POSITIVE_INFINITY])
        expect(worst(tv.prox3d(x, lambda, tight), ops.broadcastTo(ops.mean(x), [5, 4, 6]))).toBeLessThan(1e-6);
      const y = tv.prox3d(x, 0.3, tight);
      expect(worst(tv.prox3d(ops.mul(x, 1e3), 300, tight), ops.mul(y, 1e3))).toBeLessThan(1e-3);
      expect(worst(tv.prox3d(ops.add(x, 7), 0.3, tight), ops.add(y, 7))).toBeLessThan(1e-6);
      expect(worst(tv.prox3d(ops.neg(x), 0.3, tight), ops.neg(y))).toBeLessThan(1e-6);
      expect(worst(ops.transpose(tv.prox3d(ops.transpose(x, [2, 0, 1]), 0.3, tight), [1, 2, 0]), y)).toBeLessThan(1e-6);
      const other = normal([5, 4, 6], 7);
      const moved = ops.sub(y, tv.prox3d(other, 0.3, tight));
      expect(dot(moved, moved)).toBeLessThanOrEqual(dot(moved, ops.sub(x, other)) + 1e-6);
    });
  });

  it('a mask parts a volume into independent ones and leaves the rest alone, its gradient too', () => {
    tidy(() => {
      const shape = [4, 5, 9];
      const x = normal(shape, 11);
      const mask = Float64Array.from({ length: 180 }, (_, i) => (i % 9 === 4 ? 0 : 1));
      const holes = Float64Array.from(values(x), (v, i) => (mask[i] ? v : i % 2 ? Number.NaN : 1e6));
      const given = tensor(holes, { shape });
      const options = { mask: tensor(mask, { shape }), weightsHeight: positive([4, 4, 9], 12) };
      const part = (v: Tensor, start: number, n: number): Tensor => ops.slice(v, [0, 0, start], [v.shape[0]!, v.shape[1]!, n]);
      for (const way of [tight, { iterations: 3 }]) {
        const y = tv.prox3d(given, 0.3, { ...options, ...way });
        for (const start of [0, 5]) {
          const weightsHeight = part(options.weightsHeight, start, 4);
          expect(worst(part(y, start, 4), tv.prox3d(part(x, start, 4), 0.3, { weightsHeight, ...way }))).toBeLessThan(1e-6);
        }
        values(y).forEach((v, i) => {
          if (!mask[i]) expect(Object.is(v, holes[i])).toBe(true);
        });
        const g = values(grad((v: Tensor) => ops.sum(tv.prox3d(v, 0.3, { ...options, ...way })))(given));
        g.forEach((v, i) => {
          if (!mask[i]) expect(v).toBe(1);
          else expect(Number.isFinite(v)).toBe(true);
        });
      }
      expect(() => tv.prox3d(x, 1, { mask: normal([3], 1) })).toThrow(/Expected mask to broadcast/);
    });
  });

  it('a batch is its volumes, each with its lambda; bad arguments are refused', () => {
    tidy(() => {
      const x = normal([2, 3, 4, 5], 8);
      const y = tv.prox3d(x, f64([0.1, 0.6]));
      const [a, b] = ops.split(x, 2, 0) as [Tensor, Tensor];
      expect(values(ops.concat([tv.prox3d(a, 0.1), tv.prox3d(b, 0.6)], 0))).toEqual(values(y));
      expect(() => tv.prox3d(normal([3, 3], 1), 1)).toThrow(/three axes/);
      expect(() => tv.prox3d(x, -1)).toThrow(/Expected a number >= 0 for lambda/);
      expect(() => tv.prox3d(x, 1, { weightsDepth: normal([3, 4, 5], 1) })).toThrow(/weightsDepth/);
      expect(() => tv.prox3d(x, 1, { gradient: 'unrolled' })).toThrow(/Expected iterations/);
    });
  });

  it('differentiates in x, the lambdas and the weights: implicit and unrolled against central differences', () => {
    tidy(() => {
      const inputs = [normal([2, 3, 4, 4], 9), f64([0.2, 0.3]), f64(0.25), positive([2, 4, 4], 10)] as [Tensor, Tensor, Tensor, Tensor];
      const directions = inputs.map((v, i) => normal(v.shape, 20 + i)) as unknown as typeof inputs;
      for (const options of [tight, { iterations: 3 }]) {
        const f = (x: Tensor, l: Tensor, own: Tensor, w: Tensor): Tensor =>
          tv.prox3d(x, l, { ...options, lambdaWidth: own, weightsDepth: w });
        const tangent = jvp(f, inputs, directions).tangent;
        const h = 1e-6;
        const at = (s: number): Tensor => {
          const [x, l, own, w] = inputs.map((v, i) => ops.add(v, ops.mul(directions[i] as Tensor, s))) as [Tensor, Tensor, Tensor, Tensor];
          return f(x, l, own, w);
        };
        expect(relativeError(tangent, ops.div(ops.sub(at(h), at(-h)), 2 * h))).toBeLessThan(1e-6);
        const u = normal(inputs[0].shape, 30);
        const right = inputs.reduce((sum, v, i) => {
          const g = grad((z: Tensor) => {
            const [x, l, own, w] = inputs.map((other, j) => (j === i ? z : other)) as [Tensor, Tensor, Tensor, Tensor];
            return ops.sum(ops.mul(u, f(x, l, own, w)));
          })(v);
          return sum + dot(g, directions[i] as Tensor);
        }, 0);
        expect(Math.abs(right - dot(u, tangent))).toBeLessThan(1e-9 * (1 + Math.abs(right)));
      }
    });
  });
});
