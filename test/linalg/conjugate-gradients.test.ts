/** Conjugate gradients: exactness after n steps, batches, derivatives through the solution, and what happens to bad systems. */
import { describe, expect, it } from 'vitest';
import { grad, jvp, linalg, memory, ops, type Tensor, tensor, tidy } from '../../src/index.js';
import { backward, centralDifference, dot, forward, normal, relativeError } from '../support/numeric.js';

/** A Aᵀ + shift Id: symmetric positive definite, [n, n]. */
const spd = (n: number, seed: number, shift = 1): Tensor => {
  const a = normal([n, n], seed);
  const diagonal = tensor(
    Float64Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? shift : 0)),
    { shape: [n, n] },
  );
  return ops.add(ops.matmul(a, a, { transposeB: true }), diagonal);
};
const product = (x: Tensor, m: Tensor): Tensor => ops.matmul(x, m); // rows are systems; m is symmetric

describe('conjugateGradients', () => {
  it('is exact after as many steps as there are unknowns', () => {
    tidy(() => {
      const m = spd(7, 1);
      const want = normal([4, 7], 2);
      const { x, iterations, residual } = linalg.solveConjugateGradients((v) => product(v, m), product(want, m), {
        axes: 1,
        tolerance: 1e-13,
        iterations: 10,
      });
      expect(relativeError(x, want)).toBeLessThan(1e-9);
      expect(iterations).toBeLessThanOrEqual(9);
      expect(residual).toHaveLength(4);
      expect(Math.max(...residual)).toBeLessThan(1e-12);
    });
  });

  it('solves each system of a batch as if it were alone', () => {
    tidy(() => {
      const m = spd(6, 1);
      const b = ops.mul(normal([3, 6], 2), tensor([[1], [1e-6], [1e6]], { dtype: 'float64' }));
      const options = { axes: 1, tolerance: 1e-9 };
      const together = linalg.conjugateGradients((v) => product(v, m), b, options);
      for (let i = 0; i < 3; i++) {
        const alone = linalg.conjugateGradients((v) => product(v, m), ops.narrow(b, 0, i, i + 1), options);
        expect(
          relativeError(ops.div(ops.narrow(together, 0, i, i + 1), ops.max(ops.abs(alone))), ops.div(alone, ops.max(ops.abs(alone)))),
        ).toBeLessThan(1e-12);
      }
    });
  });

  it('is differentiable in b and in the parameters, forward, reverse and twice', () => {
    tidy(() => {
      const inputs = [normal([2, 5], 1), spd(5, 2)];
      // The symmetric part only: a perturbed matrix stays symmetric.
      const f = (b: Tensor, m: Tensor): Tensor =>
        linalg.conjugateGradients((x, p) => product(x, ops.mul(ops.add(p as Tensor, ops.transpose(p as Tensor)), 0.5)), b, {
          parameters: [m],
          axes: 1,
          tolerance: 1e-14,
        });
      const directions = [normal([2, 5], 3), normal([5, 5], 4)];
      const tangent = forward(f as never, inputs, directions);
      expect(relativeError(tangent, centralDifference(f as never, inputs, directions, 1e-5))).toBeLessThan(1e-8);
      const u = normal([2, 5], 5);
      const [gb, gm] = backward(f as never, inputs, [true, true], u) as [Tensor, Tensor];
      expect(dot(gb, directions[0] as Tensor) + dot(gm, directions[1] as Tensor)).toBeCloseTo(dot(u, tangent), 9);
      const energy = (m: Tensor): Tensor => ops.sum(ops.square(f(inputs[0] as Tensor, m)));
      const [m, d] = [inputs[1] as Tensor, directions[1] as Tensor];
      const second = jvp((z: Tensor) => grad(energy)(z), [m] as const, [d] as const).tangent;
      expect(relativeError(second, centralDifference(grad(energy), [m], [d], 1e-5))).toBeLessThan(1e-7);
    });
  });

  it('takes a first guess, which the derivative does not see', () => {
    tidy(() => {
      const m = spd(6, 1);
      const b = normal([6], 2);
      const apply = (v: Tensor): Tensor => ops.reshape(product(ops.reshape(v, [1, 6]), m), [6]);
      const exact = linalg.conjugateGradients(apply, b, { tolerance: 1e-14 });
      const { iterations } = linalg.solveConjugateGradients(apply, b, { start: exact, tolerance: 1e-10 });
      expect(iterations).toBe(0);
      const gradient = grad((start: Tensor) => ops.sum(linalg.conjugateGradients(apply, b, { start, iterations: 20 })))(normal([6], 3));
      expect(Math.max(...gradient.toTypedArray().map(Math.abs))).toBe(0);
    });
  });

  it('stays finite for a zero right-hand side, an indefinite matrix and NaN in one system', () => {
    tidy(() => {
      const m = spd(4, 1);
      const b = tensor(
        [
          [0, 0, 0, 0],
          [1, 2, 3, 4],
          [Number.NaN, 1, 1, 1],
        ],
        { dtype: 'float64' },
      );
      const { x, residual } = linalg.solveConjugateGradients((v) => product(v, m), b, { axes: 1 });
      const data = x.toTypedArray();
      expect([...data.slice(0, 4)]).toEqual([0, 0, 0, 0]);
      expect(data.slice(4, 8).every(Number.isFinite)).toBe(true);
      expect(residual[0]).toBe(0);
      expect(residual[1]).toBeLessThan(1e-6);
      expect(residual[2]).toBeNaN();
      const indefinite = linalg.conjugateGradients((v) => ops.neg(v), tensor([1, 2], { dtype: 'float64' }));
      expect([...indefinite.toTypedArray()]).toEqual([0, 0]);
    });
  });

  it('keeps no tensors', () => {
    const before = memory().tensors;
    tidy(() => {
      linalg.conjugateGradients((v) => ops.mul(v, 2), normal([3, 3], 1), { axes: 1 });
    });
    expect(memory().tensors).toBe(before);
  });

  it('refuses what it cannot solve, in words', () => {
    tidy(() => {
      const b = normal([2, 3], 1);
      expect(() => linalg.conjugateGradients((x) => x, b, { axes: 3 })).toThrow('Expected an integer in [0, 2] for axes but received 3');
      expect(() => linalg.conjugateGradients((x) => x, b, { tolerance: 1 })).toThrow(
        'Expected a number in [0, 1) for tolerance but received 1',
      );
      expect(() => linalg.conjugateGradients((x) => x, b, { iterations: 0 })).toThrow(
        'Expected an integer >= 1 for iterations but received 0',
      );
      expect(() => linalg.conjugateGradients((x) => x, b, { start: normal([3], 1) })).toThrow(
        'Expected float64 [2, 3] for start, as b, but received float64 [3]',
      );
      expect(() => linalg.conjugateGradients((x) => ops.sum(x), b)).toThrow('Expected a result of shape [2, 3] from apply but received []');
      expect(() =>
        grad((t: Tensor) => ops.sum(linalg.conjugateGradients((x) => ops.mul(x, t), b)))(ops.cast(tensor(2), 'float64')),
      ).toThrow('every value being differentiated in parameters');
    });
  });
});
