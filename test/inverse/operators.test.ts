/** What every operator promises: an exact adjoint, batches, derivatives, its closed forms; and how operators combine. */
import { describe, expect, it } from 'vitest';
import { grad, inverse, memory, ops, type Tensor, tensor, tidy, vjp } from '../../src/index.js';
import { dot, normal, relativeError } from '../support/numeric.js';

const { blur, bicubicResize, decimation, diagonal, inpainting, mri, radon, stackOperators, sumOperators } = inverse;
type Operator = inverse.LinearOperator;

const kernel = (h: number, w: number): Tensor => normal([h, w], 5);
const binary = (shape: readonly number[], seed = 3): Tensor => ops.compare.gt(normal(shape, seed), 0);
const maps = (coils: number, h: number, w: number): { re: Tensor; im: Tensor } => ({
  re: normal([coils, h, w], 6),
  im: normal([coils, h, w], 7),
});

const table: [string, () => Operator][] = [
  ...(['symmetric', 'replicate', 'reflect', 'circular', 'zero', 'valid'] as const).flatMap((padding): [string, () => Operator][] => [
    [`blur 3 x 5, ${padding}`, () => blur([9, 11], kernel(3, 5), { padding })],
    [`blur 4 x 2, ${padding}`, () => blur([8, 7], kernel(4, 2), { padding })],
  ]),
  ['blur beyond the image', () => blur([4, 3], kernel(9, 9))],
  ...[1 / 2, 1 / 3, 1 / 4, 0.7, 2, 3, 2.5].map((scale): [string, () => Operator] => [
    `bicubic by ${scale.toFixed(2)}`,
    () => bicubicResize([13, 18], { scale }),
  ]),
  ['bicubic to a size, no antialiasing', () => bicubicResize([12, 9], { size: [5, 20], antialias: false })],
  ['decimation by 3', () => decimation([10, 12], 3)],
  ['decimation by 1 x 4', () => decimation([5, 9], [1, 4])],
  ['inpainting', () => inpainting(binary([6, 7]))],
  ['diagonal', () => diagonal(normal([6, 7], 3))],
  ['radon', () => radon([21, 30], { angles: 13 })],
  ['radon, fine detectors', () => radon([20, 11], { angles: [0.1, 1.3, 2.9], detectors: 70, spacing: 0.35 })],
  ['radon, coarse detectors', () => radon([17, 40], { angles: 7, spacing: 3.3 })],
  ['mri, one coil, real', () => mri([8, 9], { mask: binary([8, 9]) })],
  ['mri, one coil, complex', () => mri([8, 9], { mask: binary([8, 9]), complex: true })],
  ['mri, three coils, real', () => mri([7, 10], { mask: binary([7, 10]), maps: maps(3, 7, 10), zeroFrequency: 'corner' })],
  ['mri, three coils, complex', () => mri([7, 10], { mask: binary([7, 10]), maps: maps(3, 7, 10), complex: true })],
  ['mri, real maps', () => mri([6, 5], { mask: binary([6, 5]), maps: { re: normal([2, 6, 5], 8), im: null } })],
  ['composition', () => decimation([10, 9], 2).compose(blur([10, 9], kernel(3, 3)))],
  ['scaled', () => radon([12, 12], { angles: 5 }).scale(-0.3)],
  ['transposed', () => bicubicResize([12, 9], { scale: 1 / 3 }).transposed],
  ['stack', () => stackOperators([blur([6, 6], kernel(3, 3)), blur([6, 6], kernel(2, 5)), inpainting(binary([6, 6]))])],
  ['sum', () => sumOperators([blur([6, 6], kernel(3, 3)), diagonal(normal([6, 6], 1))])],
];

const each =
  (body: (a: Operator) => void) =>
  (_label: string, make: () => Operator): void =>
    tidy(() => body(make()));

describe('every operator', () => {
  it.each(table)(
    '%s: the adjoint is exact',
    each((a) => {
      for (let seed = 0; seed < 3; seed++) {
        expect(inverse.adjointError(a, { seed })).toBeLessThan(1e-14);
        expect(inverse.adjointError(a, { seed, dtype: 'float32' })).toBeLessThan(2e-6);
      }
    }),
  );

  it.each(table)(
    '%s: leading axes are a batch',
    each((a) => {
      const x = normal([2, 3, ...a.inputShape], 1);
      const y = a.apply(x);
      expect(y.shape).toEqual([2, 3, ...a.outputShape]);
      const one = ops.reshape(ops.narrow(ops.narrow(x, 0, 1), 1, 2), a.inputShape);
      expect(relativeError(ops.reshape(ops.narrow(ops.narrow(y, 0, 1), 1, 2), a.outputShape), a.apply(one))).toBeLessThan(1e-13);
      expect(a.adjoint(y).shape).toEqual(x.shape);
      expect(relativeError(a.gram(x), a.adjoint(y))).toBeLessThan(1e-12);
    }),
  );

  it.each(table)(
    '%s: differentiable, the pullback is the adjoint',
    each((a) => {
      const [x, y] = [normal([2, ...a.inputShape], 1), normal([2, ...a.outputShape], 2)];
      expect(relativeError(vjp((v: Tensor) => a.apply(v), x).pullback(y)[0], a.adjoint(y))).toBeLessThan(1e-12);
      expect(relativeError(vjp((v: Tensor) => a.adjoint(v), y).pullback(x)[0], a.apply(x))).toBeLessThan(1e-12);
    }),
  );

  it.each(table)(
    '%s: float32 agrees with float64',
    each((a) => {
      const x = normal(a.inputShape, 1);
      const single = ops.cast(a.apply(ops.cast(x, 'float32')), 'float64');
      expect(relativeError(single, a.apply(x))).toBeLessThan(5e-6);
    }),
  );

  it.each(table)(
    '%s: the resolvent solves (Id + τ AᵀA) x = v',
    each((a) => {
      const v = normal([2, ...a.inputShape], 1);
      const tau = 0.7;
      const x = inverse.resolvent(a, v, tau, { tolerance: 1e-12, iterations: 1000 });
      expect(relativeError(ops.add(x, ops.mul(a.gram(x), tau)), v)).toBeLessThan(1e-9);
    }),
  );

  it.each(table)(
    '%s: refuses other shapes',
    each((a) => {
      expect(() => a.apply(normal([1, 1], 1))).toThrow(/^Expected a tensor that ends in \[.*\] for x of .* but received shape \[1, 1\]$/);
      expect(() => a.adjoint(normal([1], 1))).toThrow(/for y of the adjoint of/);
      expect(() => a.apply(ops.cast(normal(a.inputShape, 1), 'int32'))).toThrow(
        'Expected a float32 or float64 tensor for x but received int32',
      );
    }),
  );
});

describe('resolvent', () => {
  it('is differentiable in v and τ: closed forms as conjugate gradients', () => {
    tidy(() => {
      const cases: Operator[] = [inpainting(binary([4, 5])), decimation([6, 6], 2), mri([4, 6], { mask: binary([4, 6]) }).scale(1.5)];
      for (const a of cases) {
        expect(a.hasResolvent).toBe(true);
        const open = inverse.linearOperator({
          name: 'without closed form',
          inputShape: a.inputShape,
          outputShape: a.outputShape,
          apply: (x) => a.apply(x),
          adjoint: (y) => a.adjoint(y),
        });
        const [v, w] = [normal(a.inputShape, 1), normal(a.inputShape, 2)];
        const tau = tensor(0.6, { dtype: 'float64' });
        const slopes = [a, open].map((operator) => {
          const f = (p: Tensor, t: Tensor): Tensor =>
            ops.sum(ops.mul(w, ops.square(inverse.resolvent(operator, p, t, { tolerance: 1e-14, iterations: 200 }))));
          return { v: grad(f, 0)(v, tau), tau: grad(f, 1)(v, tau) };
        });
        expect(relativeError(slopes[1]!.v, slopes[0]!.v)).toBeLessThan(1e-10);
        expect(slopes[1]!.tau.item()).toBeCloseTo(slopes[0]!.tau.item(), 10);
      }
    });
  });

  it('proximalStep minimises ½|x - v|² + τ/2 |A x - z|²', () => {
    tidy(() => {
      const a = blur([7, 6], kernel(3, 3));
      const [v, z] = [normal([7, 6], 1), normal([7, 6], 2)];
      const x = inverse.proximalStep(a, v, z, 2, { tolerance: 1e-13 });
      const energy = (u: Tensor): Tensor =>
        ops.add(ops.mul(ops.sum(ops.square(ops.sub(u, v))), 0.5), inverse.leastSquares(a, z, 2).value(u));
      expect(Math.max(...grad(energy)(x).toTypedArray().map(Math.abs))).toBeLessThan(1e-9);
    });
  });

  it('of the identity is division, for tensors of any shape', () => {
    tidy(() => {
      const v = normal([2, 3, 4], 1);
      expect(relativeError(inverse.resolvent(inverse.identity(), v, 3), ops.div(v, 4))).toBeLessThan(1e-15);
      expect(relativeError(inverse.resolvent(inverse.identity().scale(2), v, 3), ops.div(v, 13))).toBeLessThan(1e-15);
    });
  });

  it('refuses a τ that is negative or not a scalar', () => {
    expect(() => inverse.resolvent(inverse.identity(), normal([2], 1), -1)).toThrow('for tau but received -1');
    expect(() => inverse.resolvent(inverse.identity(), normal([2], 1), normal([2], 1))).toThrow('for tau but received shape [2]');
  });
});

describe('the algebra of operators', () => {
  it('norms: of known operators, and of c A = |c| |A|', () => {
    tidy(() => {
      expect(inverse.operatorNorm(diagonal(tensor([3, -5, 1])))).toBeCloseTo(5, 5);
      // Constants stay constants under a kernel of sum 1 and positive entries: the norm is 1 with circular borders.
      expect(inverse.operatorNorm(blur([16, 16], inverse.gaussianKernel(1), { padding: 'circular' }), { iterations: 500 })).toBeCloseTo(
        1,
        3,
      );
      const a = radon([16, 16], { angles: 8 });
      expect(inverse.operatorNorm(a.scale(-2), { iterations: 300 })).toBeCloseTo(2 * inverse.operatorNorm(a, { iterations: 300 }), 2);
      expect(inverse.operatorNorm(diagonal(tensor([0, 0])))).toBe(0);
    });
  });

  it('(A B)ᵀ = Bᵀ Aᵀ, and composition with the identity', () => {
    tidy(() => {
      const [a, b] = [decimation([8, 8], 2), blur([8, 8], kernel(3, 3))];
      const ab = a.compose(b);
      const y = normal(ab.outputShape, 1);
      expect(relativeError(ab.transposed.apply(y), b.adjoint(a.adjoint(y)))).toBe(0);
      const c = inverse.identity().compose(ab).compose(inverse.identity());
      expect([c.inputShape, c.outputShape]).toEqual([ab.inputShape, ab.outputShape]);
      expect(relativeError(c.adjoint(y), ab.adjoint(y))).toBe(0);
      expect(() => b.compose(a)).toThrow(
        'Expected an operator with results of shape [8, 8] to compose with blur but received decimation with [4, 4]',
      );
    });
  });

  it('is differentiable in a scale', () => {
    tidy(() => {
      const a = blur([5, 5], kernel(3, 3));
      const x = normal([5, 5], 1);
      const energy = (c: Tensor): Tensor => ops.sum(ops.square(a.scale(c).apply(x)));
      const c = tensor(1.5, { dtype: 'float64' });
      expect(grad(energy)(c).item()).toBeCloseTo(2 * 1.5 * dot(a.apply(x), a.apply(x)), 9);
    });
  });

  it('stacks and sums refuse operators that do not match', () => {
    tidy(() => {
      const a = [blur([6, 6], kernel(3, 3)), blur([7, 6], kernel(3, 3))];
      expect(() => stackOperators(a)).toThrow('Expected operators from [6, 6] to [6, 6] for stack but received blur from [7, 6] to [7, 6]');
      expect(() => sumOperators([])).toThrow('Expected at least one operator for sum but received none');
    });
  });

  it('constants live and die with the operator', () => {
    const before = memory().tensors;
    const a = tidy(() => blur([6, 6], inverse.gaussianKernel(1)));
    expect(memory().tensors).toBe(before + 1);
    expect(a.disposed).toBe(false);
    tidy(() => {
      a.apply(normal([6, 6], 1));
    });
    a.dispose();
    expect(a.disposed).toBe(true);
    expect(memory().tensors).toBe(before);
    tidy(() => {
      a.disposed;
      for (const [, make] of table) make();
    });
    expect(memory().tensors).toBe(before);
  });
});
