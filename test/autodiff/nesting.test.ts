/** Differentiation inside differentiation, custom rules, and what must be refused. */
import { describe, expect, it } from 'vitest';
import {
  checkpoint,
  customJvp,
  customVjp,
  grad,
  hvp,
  jvp,
  memory,
  ops,
  scalar,
  type Tensor,
  tensor,
  tidy,
  valueAndGrad,
  vjp,
} from '../../src/index.js';
import { centralDifference, dot, type Fn, forward, normal, relativeError, values } from '../support/numeric.js';

const { add, mul, sub, sum, square, tanh, softplus, conv2d, convTranspose2d, div, sin, exp } = ops;
const f64 = (data: number[] | number[][]): Tensor => tensor(data, { dtype: 'float64' });

/** The error of a gradient against central differences along a random direction. */
function gradientError(f: Fn, inputs: Tensor[], k: number, h = 1e-5): number {
  const direction = normal((inputs[k] as Tensor).shape, 77);
  const gradient = grad((x: Tensor) => f(...inputs.map((v, i) => (i === k ? x : v))))(inputs[k] as Tensor);
  const numeric = centralDifference(
    f,
    inputs,
    inputs.map((_, i) => (i === k ? direction : null)),
    h,
  ).item();
  return Math.abs(dot(gradient, direction) - numeric) / Math.max(1, Math.abs(numeric));
}

/** A three-layer energy with a strided and a transposed convolution. */
const energy = (x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor): Tensor => {
  const a = tanh(conv2d(x, w1, { stride: 2, padding: 1 }));
  const b = softplus(conv2d(a, w2, { padding: 'same' }));
  return sum(square(tanh(convTranspose2d(b, w3, { stride: 2, padding: 1, outputPadding: 1 }))));
};
const weights = (): Tensor[] => [normal([3, 2, 3, 3], 1, 0.4), normal([4, 3, 3, 3], 2, 0.4), normal([4, 2, 3, 3], 3, 0.4)];

describe('nesting', () => {
  it('gradient of |∇ₓE|² with respect to the weights', () => {
    tidy(() => {
      const x = normal([2, 2, 6, 6], 4);
      const penalty = (...w: Tensor[]): Tensor => sum(square(grad((y: Tensor) => energy(y, ...(w as [Tensor, Tensor, Tensor])))(x)));
      for (const k of [0, 1, 2]) expect(gradientError(penalty, weights(), k)).toBeLessThan(1e-7);
    });
  });

  it('reverse over jvp', () => {
    tidy(() => {
      const [x, v] = [normal([1, 2, 6, 6], 5), normal([1, 2, 6, 6], 6)];
      const slope = (...w: Tensor[]): Tensor =>
        square(jvp((y: Tensor) => energy(y, ...(w as [Tensor, Tensor, Tensor])), [x] as const, [v] as const).tangent as Tensor);
      for (const k of [0, 1, 2]) expect(gradientError(slope, weights(), k)).toBeLessThan(1e-7);
    });
  });

  it('the differentiable Rayleigh quotient of a Jacobian', () => {
    tidy(() => {
      const [x, v] = [normal([1, 2, 6, 6], 7), normal([1, 2, 6, 6], 8)];
      const quotient = (w: Tensor): Tensor => {
        const layer = (y: Tensor): Tensor => tanh(conv2d(y, w, { padding: 'same' }));
        const jv = jvp(layer, [x] as const, [v] as const).tangent as Tensor;
        const { pullback } = vjp(layer, x);
        const jtjv = pullback(jv)[0];
        return div(sum(mul(jtjv, v)), sum(square(v)));
      };
      expect(gradientError(quotient as Fn, [normal([2, 2, 3, 3], 9)], 0)).toBeLessThan(1e-7);
    });
  });

  it('shared arguments: grad(w => grad(f)(w, x)) sees every path', () => {
    tidy(() => {
      const f = (w: Tensor, x: Tensor): Tensor => sum(mul(square(w), sin(mul(w, x))));
      const [w, x] = [normal([5], 10), normal([5], 11)];
      const outer = (a: Tensor): Tensor => sum(square(grad(f, 1)(a, mul(a, x))));
      expect(gradientError(outer as Fn, [w], 0)).toBeLessThan(1e-7);
    });
  });

  it('third derivatives', () => {
    tidy(() => {
      const d = (f: (x: Tensor) => Tensor) => grad((x: Tensor) => sum(f(x)));
      const third = d(d(d((x) => exp(mul(x, x)))));
      // (e^{x²})''' = (8x³ + 12x) e^{x²}
      const x = [0.3, -0.7];
      values(third(f64(x))).forEach((value, i) => {
        expect(value).toBeCloseTo((8 * x[i]! ** 3 + 12 * x[i]!) * Math.exp(x[i]! ** 2), 9);
      });
    });
  });

  it('hvp equals the difference of gradients', () => {
    tidy(() => {
      const [w1, w2, w3] = weights() as [Tensor, Tensor, Tensor];
      const f = (x: Tensor): Tensor => energy(x, w1, w2, w3);
      const [x, v] = [normal([1, 2, 6, 6], 12), normal([1, 2, 6, 6], 13)];
      expect(relativeError(hvp(f, x, v), centralDifference(grad(f) as Fn, [x], [v], 1e-5))).toBeLessThan(1e-7);
    });
  });

  it('perturbations of two levels are not confused', () => {
    tidy(() => {
      // d/dx (x * d/dy (x + y) at y = 1) at x = 1 is 1, not 2
      const inner = (x: Tensor): Tensor =>
        mul(x, jvp((y: Tensor) => add(x, y), [scalar(1, 'float64')] as const, [scalar(1, 'float64')] as const).tangent as Tensor);
      expect(grad(inner)(scalar(1, 'float64')).item()).toBe(1);
    });
  });
});

describe('trees and results', () => {
  it('differentiates records and arrays of tensors', () => {
    tidy(() => {
      const params = { a: f64([1, 2]), rest: [f64([[3]])] };
      const { value, gradient } = valueAndGrad((p: typeof params) => add(sum(square(p.a)), sum(mul(p.rest[0] as Tensor, 4))))(params);
      expect(value.item()).toBe(17);
      expect(values(gradient.a)).toEqual([2, 4]);
      expect(gradient.rest[0]!.toArray()).toEqual([[4]]);
    });
  });

  it('gives zeros for what the result does not depend on, and passes integers through', () => {
    tidy(() => {
      expect(values(grad((_x: Tensor) => scalar(3, 'float64'))(f64([1, 2])))).toEqual([0, 0]);
      const picked = grad((x: Tensor) => sum(ops.gather(x, tensor([1, 1], { dtype: 'int32' }))))(f64([5, 6]));
      expect(values(picked)).toEqual([0, 2]);
    });
  });

  it('a pullback may be called again, and not after it is disposed', () => {
    tidy(() => {
      const { value, pullback } = vjp((x: Tensor) => square(x), f64([3]));
      expect(value.item()).toBe(9);
      expect(pullback(f64([1]))[0].item()).toBe(6);
      expect(pullback(f64([2]))[0].item()).toBe(12);
      pullback.dispose();
      expect(() => pullback(f64([1]))).toThrow(/disposed/);
    });
  });

  it('refuses what has no gradient, in one sentence', () => {
    tidy(() => {
      expect(() => grad((x: Tensor) => x)(f64([1, 2]))).toThrow(/one floating-point number/);
      expect(() => grad((x: Tensor) => sum(x))(tensor([1, 2], { dtype: 'int32' }))).toThrow(/floating-point/);
      expect(() => grad((x: Tensor) => scalar(x.item()))(f64([1]))).toThrow(/being differentiated/);
      let escaped: Tensor | undefined;
      grad((x: Tensor) => {
        escaped = x;
        return sum(x);
      })(f64([1]));
      expect(() => add(escaped as Tensor, 1)).toThrow(/escaped/);
      expect(() => jvp((x: Tensor) => x, [f64([1])] as const, [f64([1, 2])] as const)).toThrow(/shape \[1\]/);
      expect(() => vjp((x: Tensor) => x, f64([1])).pullback(f64([1, 2]))).toThrow(/shape \[1\]/);
    });
  });
});

describe('custom rules', () => {
  it('customJvp serves forward, reverse and second order', () => {
    tidy(() => {
      const cube = customJvp(
        (x: Tensor) => mul(x, square(x)),
        ([x], [dx]) => ({ value: mul(x, square(x)), tangent: mul(mul(3, square(x)), dx) }),
      );
      const x = f64([0.5, -2]);
      expect(values(grad((y: Tensor) => sum(cube(y)))(x))).toEqual([0.75, 12]);
      expect(values(hvp((y: Tensor) => sum(cube(y)), x, f64([1, 1])))).toEqual([3, -12]);
      expect(values(forward(cube as Fn, [x], [f64([1, 0])]))).toEqual([0.75, 0]);
    });
  });

  it('customVjp uses the given cotangents, and says that it has no forward mode', () => {
    tidy(() => {
      const straightThrough = customVjp(
        (x: Tensor) => ops.round(x),
        (_args, _value, ct) => [mul(ct, 2)],
      );
      const x = f64([0.4, 1.6]);
      expect(values(straightThrough(x))).toEqual([0, 2]);
      expect(values(grad((y: Tensor) => sum(mul(straightThrough(y), y)))(x))).toEqual([0.8, 5.2]);
      expect(() => jvp(straightThrough, [x] as const, [x] as const)).toThrow(/customJvp/);
    });
  });

  it('checkpoint changes neither values nor derivatives of any order, and stores less', () => {
    tidy(() => {
      const w = normal([4, 4, 3, 3], 14, 0.3);
      const block = (x: Tensor, v: Tensor): Tensor => {
        let h = x;
        for (let i = 0; i < 6; i++) h = tanh(conv2d(h, v, { padding: 'same' }));
        return h;
      };
      const light = checkpoint(block);
      const x = normal([1, 4, 16, 16], 15);
      const loss = (f: typeof block) => (y: Tensor) => sum(square(f(y, w)));
      expect(values(grad(loss(light))(x))).toEqual(values(grad(loss(block))(x)));
      const v = normal(x.shape, 16);
      expect(relativeError(hvp(loss(light), x, v), hvp(loss(block), x, v))).toBeLessThan(1e-12);
      const stored = (f: typeof block): number => {
        const before = memory().bytes;
        const { pullback } = vjp((y: Tensor) => tidy(() => f(y, w)), x);
        const kept = memory().bytes - before;
        pullback.dispose();
        return kept;
      };
      expect(stored(light)).toBeLessThan(0.5 * stored(block));
    });
  });

  it('checkpoint refuses values that come in from outside', () => {
    tidy(() => {
      const f = (w: Tensor): Tensor => sum(checkpoint((x: Tensor) => mul(x, w))(f64([1])));
      expect(() => grad(f)(f64([2]))).toThrow(/argument/);
    });
  });
});

describe('memory', () => {
  it('1000 gradients leave nothing behind', () => {
    const x = normal([8, 8], 17);
    const step = (): number => tidy(() => sum(square(grad((y: Tensor) => sum(tanh(sub(mul(y, y), exp(y)))))(x))).item());
    step();
    const before = memory();
    for (let i = 0; i < 1000; i++) step();
    expect(memory().tensors).toBe(before.tensors);
    expect(memory().bytes).toBe(before.bytes);
    x.dispose();
  });

  it('an error inside the function frees what was recorded', () => {
    const x = normal([8], 18);
    const before = memory();
    for (let i = 0; i < 10; i++) {
      expect(() =>
        tidy(() =>
          grad((y: Tensor) => {
            square(tanh(y));
            throw new Error('user');
          })(x),
        ),
      ).toThrow('user');
    }
    expect(memory().tensors).toBe(before.tensors);
    x.dispose();
  });
});
