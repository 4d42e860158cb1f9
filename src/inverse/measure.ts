/** What can be measured of an operator: its norm, and how exact its adjoint is. */
import { mul, square, sum } from '../ops/index.js';
import { type FloatDType, Generator, type Tensor, tidy } from '../tensor/index.js';
import type { LinearOperator } from './operator.js';

export interface NormOptions {
  /** Most steps of the power iteration. Default 100. */
  iterations?: number;
  /** Relative change of the estimate at which it stops. Default 1e-6. */
  tolerance?: number;
  /** Seed of the first vector. Default 0. */
  seed?: number;
  /** Default 'float32'. */
  dtype?: FloatDType;
}

/**
 * The norm of an operator, the square root of the largest eigenvalue of AᵀA, by power iteration: a lower bound that rises towards it.
 * Where an upper bound is needed (step sizes), leave a margin of a few percent.
 */
export function operatorNorm(operator: LinearOperator, options: NormOptions = {}): number {
  const { iterations = 100, tolerance = 1e-6, seed = 0, dtype = 'float32' } = options;
  if (!Number.isInteger(iterations) || iterations < 1) {
    throw new RangeError(`Expected an integer >= 1 for iterations but received ${String(iterations)}`);
  }
  if (!(tolerance >= 0)) throw new RangeError(`Expected a number >= 0 for tolerance but received ${String(tolerance)}`);
  let vector = new Generator(seed).normal(operator.inputShape, { dtype });
  let estimate = 0;
  try {
    for (let k = 0; k < iterations; k++) {
      const length = norm(vector);
      if (length === 0) return 0;
      const next = tidy(() => operator.gram(mul(vector, 1 / length)));
      vector.dispose();
      vector = next;
      const last = estimate;
      estimate = Math.sqrt(norm(vector));
      if (Math.abs(estimate - last) <= tolerance * estimate) break;
    }
    return estimate;
  } finally {
    vector.dispose();
  }
}

/**
 * |<A x, y> - <x, Aᵀ y>| / (|A x| |y|) for normal x and y: 1e-16 in float64 for an exact adjoint, up to the accumulation of rounding.
 */
export function adjointError(operator: LinearOperator, options: { seed?: number; dtype?: FloatDType } = {}): number {
  const { seed = 0, dtype = 'float64' } = options;
  return tidy(() => {
    const random = new Generator(seed);
    const x = random.normal(operator.inputShape, { dtype });
    const y = random.normal(operator.outputShape, { dtype });
    const image = operator.apply(x);
    const left = sum(mul(image, y)).item();
    const right = sum(mul(x, operator.adjoint(y))).item();
    const scale = norm(image) * norm(y);
    return scale === 0 ? Math.abs(left - right) : Math.abs(left - right) / scale;
  });
}

const norm = (x: Tensor): number => tidy(() => Math.sqrt(sum(square(x)).item()));
