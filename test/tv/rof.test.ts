/** Isotropic total variation: exact properties, certificates, three dimensions, coupled channels, warm starts, derivatives. */
import { describe, expect, it } from 'vitest';
import { grad, jvp, ops, type Tensor, tensor, tidy, tv } from '../../src/index.js';
import { dot, normal, relativeError, values } from '../support/numeric.js';

const worst = (a: Tensor, b: Tensor): number => values(ops.abs(ops.sub(a, b))).reduce((m, v) => Math.max(m, v), 0);
const tight = { tolerance: 1e-13, maxIterations: 200_000 };

describe('rof', () => {
  it('both methods find the same solution, and every gap bounds the excess over it', () => {
    tidy(() => {
      const x = normal([3, 17, 21], 1);
      for (const lambda of [0.05, 0.4, 2]) {
        const best = tv.solveRof(x, lambda, { tolerance: 1e-12, maxIterations: 200_000, method: 'fista' });
        for (const method of ['fista', 'primal-dual'] as const)
          for (const dtype of ['float64', 'float32'] as const)
            for (const tolerance of [1e-2, 1e-5]) {
              const s = tv.solveRof(ops.cast(x, dtype), lambda, { tolerance, method });
              const y = ops.cast(s.y, 'float64');
              s.gap.forEach((gap, i) => {
                expect(s.relativeGap[i]).toBeLessThanOrEqual(tolerance);
                const excess = (s.objective[i] as number) - (best.objective[i] as number);
                expect(excess).toBeGreaterThan(-2e-6 * (best.objective[i] as number));
                if (dtype === 'float64') expect(excess).toBeLessThanOrEqual(gap * (1 + 1e-9) + (best.gap[i] as number));
              });
              // |y - y*|² / 2 <= gap, by strong convexity
              const total = s.gap.reduce((a, b) => a + b, 0) + best.gap.reduce((a, b) => a + b, 0);
              expect(worst(y, best.y)).toBeLessThanOrEqual(2 * Math.sqrt(2 * total) + 1e-6);
            }
      }
    });
  });

  it('lambda 0 is the identity, a huge one gives the mean; shifts, scales, signs; non-expansive; keeps the mean', () => {
    tidy(() => {
      const x = normal([9, 13], 2);
      expect(values(tv.rof(x, 0))).toEqual(values(x));
      for (const lambda of [1e3, 1e30, Number.POSITIVE_INFINITY])
        expect(worst(tv.rof(x, lambda, { tolerance: 1e-12 }), ops.broadcastTo(ops.mean(x), [9, 13]))).toBeLessThan(1e-5);
      const y = tv.rof(x, 0.3, tight);
      expect(worst(tv.rof(ops.mul(x, 8), 2.4, tight), ops.mul(y, 8))).toBeLessThan(1e-5);
      expect(worst(tv.rof(ops.add(x, 100), 0.3, tight), ops.add(y, 100))).toBeLessThan(1e-5);
      expect(worst(tv.rof(ops.neg(x), 0.3, tight), ops.neg(y))).toBeLessThan(1e-5);
      expect(worst(ops.transpose(tv.rof(ops.transpose(x), 0.3, tight)), y)).toBeLessThan(1e-5);
      expect(Math.abs(ops.mean(y).item() - ops.mean(x).item())).toBeLessThan(1e-12);
      const other = normal([9, 13], 3);
      const moved = ops.sub(y, tv.rof(other, 0.3, tight));
      const given = ops.sub(x, other);
      expect(dot(moved, moved)).toBeLessThanOrEqual(dot(moved, given) + 1e-5);
    });
  });

  it('a volume one slice thick along any axis is an image', () => {
    tidy(() => {
      const x = normal([7, 10], 4);
      const y = tv.rof(x, 0.4, tight);
      for (const shape of [
        [1, 7, 10],
        [7, 1, 10],
        [7, 10, 1],
      ]) {
        const got = tv.rof(ops.reshape(x, shape), 0.4, { ...tight, dims: 3 });
        expect(worst(ops.reshape(got, [7, 10]), y)).toBeLessThan(1e-5);
      }
    });
  });

  it('coupled channels: equal ones are one image with lambda / sqrt(channels), a single one is plain', () => {
    tidy(() => {
      const x = normal([1, 8, 9], 5);
      const y = tv.rof(x, 0.3, tight);
      expect(worst(tv.rof(x, 0.3, { ...tight, channels: 'coupled' }), y)).toBeLessThan(1e-6);
      const three = ops.broadcastTo(x, [3, 8, 9]);
      const coupled = tv.rof(three, 0.3 * Math.sqrt(3), { ...tight, channels: 'coupled' });
      expect(worst(coupled, ops.broadcastTo(y, [3, 8, 9]))).toBeLessThan(1e-5);
      const mixed = tv.solveRof(normal([2, 3, 8, 9], 6), tensor([0.2, 0.5], { dtype: 'float64' }), {
        channels: 'coupled',
        tolerance: 1e-8,
      });
      expect(mixed.gap.length).toBe(2);
      for (const gap of mixed.relativeGap) expect(gap).toBeLessThanOrEqual(1e-8);
    });
  });

  it('returns a feasible dual with y = x + div(dual), and starting from it takes no iteration', () => {
    tidy(() => {
      for (const dims of [2, 3] as const) {
        const x = normal([2, 5, 6, 7], 7);
        const s = tv.solveRof(x, 0.3, { tolerance: 1e-9, dims, method: 'fista' });
        const shape = dims === 2 ? [2, 5, 2, 6, 7] : [2, 3, 5, 6, 7];
        expect(s.dual.shape).toEqual(shape);
        expect(worst(ops.sub(x, ops.gradientAdjoint(s.dual, dims)), s.y)).toBeLessThan(1e-12);
        const lengths = ops.sqrt(ops.sum(ops.square(s.dual), { axes: [-dims - 1] }));
        expect(ops.max(lengths).item()).toBeLessThanOrEqual(0.3 * (1 + 1e-12));
        const again = tv.solveRof(x, 0.3, { tolerance: 1.1e-9, dims, init: s.dual });
        expect(Math.max(...again.iterations)).toBe(0);
      }
      expect(() => tv.rof(normal([5, 5], 1), 1, { init: normal([5, 5], 2) })).toThrow(/Expected shape .* for init/);
    });
  });

  it('a batch is its images, bitwise', () => {
    tidy(() => {
      const x = ops.cast(normal([3, 200, 190], 8), 'float32'); // big enough for the threads inside one image
      const y = tv.rof(x, 0.3);
      const parts = ops.split(x, 3, 0).map((part) => tv.rof(part, 0.3));
      expect(values(ops.concat(parts, 0))).toEqual(values(y));
    });
  });
});

describe('the derivative of rof', () => {
  const cases = [
    { name: 'images', shape: [2, 8, 9], lambda: [0.3, 0.2], options: {} },
    { name: 'coupled channels', shape: [2, 3, 6, 5], lambda: [0.3, 0.5], options: { channels: 'coupled' as const } },
    { name: 'volumes', shape: [2, 4, 5, 4], lambda: [0.2, 0.3], options: { dims: 3 as const } },
  ];
  for (const { name, shape, lambda, options } of cases) {
    it(`of ${name} in x and lambda agrees with central differences, both modes with each other`, () => {
      tidy(() => {
        const x = normal(shape, 21);
        const l = tensor(lambda, { dtype: 'float64' });
        const [dx, dl] = [normal(shape, 22), normal([2], 23)];
        const solve = (a: Tensor, b: Tensor): Tensor => tv.rof(a, b, { ...options, tolerance: 1e-13, maxIterations: 300_000 });
        const tangent = jvp(solve, [x, l] as const, [dx, dl] as const).tangent;
        const h = 1e-5;
        const at = (s: number): Tensor => solve(ops.add(x, ops.mul(dx, s)), ops.add(l, ops.mul(dl, s)));
        const difference = ops.div(ops.sub(at(h), at(-h)), 2 * h);
        expect(relativeError(tangent, difference)).toBeLessThan(2e-4);
        const u = normal(shape, 24);
        const loss = (a: Tensor, b: Tensor): Tensor => ops.sum(ops.mul(u, solve(a, b)));
        const gx = grad((a: Tensor) => loss(a, l))(x);
        const gl = grad((b: Tensor) => loss(x, b))(l);
        expect(Math.abs(dot(gx, dx) + dot(gl, dl) - dot(u, tangent))).toBeLessThan(1e-9 * Math.sqrt(dot(tangent, tangent) * dot(u, u)));
      });
    });
  }

  it('unrolled tends to the implicit one, differentiates twice, and wants its iterations', () => {
    tidy(() => {
      const x = normal([6, 7], 25);
      const u = normal([6, 7], 26);
      const through = (options: tv.RofOptions) => (a: Tensor) => ops.sum(ops.mul(u, tv.rof(a, 0.3, options)));
      const implicit = grad(through({}))(x);
      expect(relativeError(grad(through({ gradient: 'unrolled', iterations: 800 }))(x), implicit)).toBeLessThan(1e-3);
      const energy = (a: Tensor): Tensor => ops.sum(ops.square(tv.rof(a, 0.3, { gradient: 'unrolled', iterations: 5 })));
      const direction = normal([6, 7], 27);
      const second = jvp((a: Tensor) => grad(energy)(a), [x] as const, [direction] as const).tangent;
      const h = 1e-6;
      const at = (s: number): Tensor => grad(energy)(ops.add(x, ops.mul(direction, s)));
      expect(relativeError(second, ops.div(ops.sub(at(h), at(-h)), 2 * h))).toBeLessThan(1e-6);
      const implicitEnergy = (a: Tensor): Tensor => ops.sum(ops.square(tv.rof(a, 0.3)));
      expect(() => jvp((a: Tensor) => grad(implicitEnergy)(a), [x] as const, [direction] as const)).toThrow(/second/);
      expect(() => tv.rof(x, 0.3, { gradient: 'unrolled' })).toThrow(/Expected iterations/);
    });
  });
});
