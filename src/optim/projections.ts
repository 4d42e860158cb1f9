/** Constraints that parameters are mapped back to after a step. */
import { clamp as clampOp, div, maximum, mean, mul, sqrt, square, sub, sum } from '../ops/index.js';
import type { Tensor } from '../tensor/index.js';

type Projection = (value: Tensor) => Tensor;

/** Each entry to [low, high]. */
export function clamp(low: number, high: number): Projection {
  return (value) => clampOp(value, low, high);
}

/** The mean over `axes` (default: all but the first, so per output channel) to zero. */
export function zeroMean(axes?: readonly number[]): Projection {
  return (value) => sub(value, mean(value, { axes: axes ?? allButFirst(value), keepDims: true }));
}

/** The Euclidean norm over `axes` (default: all but the first) to at most `radius`. */
export function normBall(radius = 1, axes?: readonly number[]): Projection {
  if (!(radius > 0)) throw new RangeError(`Expected a number > 0 for radius but received ${String(radius)}`);
  return (value) => {
    const norm = sqrt(sum(square(value), { axes: axes ?? allButFirst(value), keepDims: true }));
    return mul(value, div(radius, maximum(norm, radius)));
  };
}

/** One projection after the other. */
export function compose(...projections: readonly Projection[]): Projection {
  return (value) => projections.reduce((v, project) => project(v), value);
}

const allButFirst = (value: Tensor): number[] => value.shape.slice(1).map((_, i) => i + 1);
