/** Accelerated gradient descent with backtracking: Algorithm 1 of Kobler et al. 2020 (TDV), restored in specification §8. */
import { checkFloat, mul, square, sub, sum } from '../ops/index.js';
import { type Tensor, tidy } from '../tensor/index.js';
import type { Energy } from './least-squares.js';

export interface AcceleratedGradientOptions {
  /** Steps. Default 100. */
  iterations?: number;
  /** First estimate of the gradient's Lipschitz constant. Default 1. */
  lipschitz?: number;
  /** Factor of the estimate when a step is refused, > 1, and divisor when one is accepted, >= 1. Default 2 and 2. */
  increase?: number;
  decrease?: number;
  /** Stops once |x_{k+1} - x_k| <= tolerance |x_{k+1}|. Default 0: never. */
  tolerance?: number;
  /** Sees every iterate, numbered from 1, and stops the descent by returning false. It must not keep x. */
  onIteration?: (k: number, x: Tensor, energy: number) => unknown;
}

export interface AcceleratedGradientResult {
  x: Tensor;
  iterations: number;
  /** The energy after each step. */
  energies: Float64Array;
  /** The last estimate of the Lipschitz constant. */
  lipschitz: number;
}

/** Retries of one step: 2^30 covers every scale that float32 can follow. */
const MAX_RETRIES = 30;

/**
 * Minimises a smooth energy from `x0`:
 *   x̄ = x_k + k / (k + 3) (x_k - x_{k-1}),  g = ∇E(x̄),  x_{k+1} = x̄ - g / L,
 * where L grows until E(x_{k+1}) <= E(x̄) + <g, x_{k+1} - x̄> + L/2 |x_{k+1} - x̄|². The energy need not be convex. A batch is one problem.
 * @throws RangeError for options out of range, or an energy that is not a number
 */
export function acceleratedGradient(energy: Energy, x0: Tensor, options: AcceleratedGradientOptions = {}): AcceleratedGradientResult {
  checkFloat(x0, 'x0');
  const { iterations = 100, increase = 2, decrease = 2, tolerance = 0, onIteration } = options;
  let { lipschitz = 1 } = options;
  if (!Number.isInteger(iterations) || iterations < 1) {
    throw new RangeError(`Expected an integer >= 1 for iterations but received ${String(iterations)}`);
  }
  for (const [name, value, least] of [
    ['lipschitz', lipschitz, 0],
    ['increase', increase, 1],
    ['decrease', decrease, 1],
  ] as const) {
    if (!(name === 'decrease' ? value >= least : value > least) || value === Number.POSITIVE_INFINITY) {
      throw new RangeError(`Expected a number ${name === 'decrease' ? '>=' : '>'} ${least} for ${name} but received ${String(value)}`);
    }
  }
  if (!(tolerance >= 0)) throw new RangeError(`Expected a number >= 0 for tolerance but received ${String(tolerance)}`);
  // Differences of energies below this share are rounding.
  const slack = x0.dtype === 'float64' ? 1e-12 : 1e-6;
  return tidy(() => {
    const energies: number[] = [];
    let [x, last] = [x0.own(), x0.own()];
    for (let k = 0; k < iterations; k++) {
      const step = tidy(() => {
        const extrapolated = k === 0 ? x : axpy(k / (k + 3), sub(x, last), x);
        const { value, gradient } = energy.valueAndGradient(extrapolated);
        const from = value.item();
        if (Number.isNaN(from)) throw new RangeError('Expected an energy that is a number but received NaN');
        const length = sum(square(gradient)).item();
        for (let retry = 0; ; retry++) {
          const next = axpy(-1 / lipschitz, gradient, extrapolated);
          const to = energy.value(next).item();
          // <g, -g / L> + L/2 |g / L|² = -|g|² / 2 L
          if (to <= from - length / (2 * lipschitz) + slack * Math.abs(from) || retry === MAX_RETRIES) return { next, to };
          next.dispose();
          lipschitz *= increase;
        }
      });
      lipschitz /= decrease;
      last.dispose();
      [last, x] = [x, step.next];
      energies.push(step.to);
      if (onIteration?.(k + 1, x, step.to) === false) break;
      if (tolerance > 0 && isClose(x, last, tolerance)) break;
    }
    return { x, iterations: energies.length, energies: Float64Array.from(energies), lipschitz };
  });
}

const axpy = (a: number, x: Tensor, y: Tensor): Tensor => tidy(() => sub(y, mul(x, -a)));

const isClose = (a: Tensor, b: Tensor, tolerance: number): boolean =>
  tidy(() => sum(square(sub(a, b))).item() <= tolerance * tolerance * sum(square(a)).item());
