/** Checks and broadcasts what a TV user passes as lambda and weights. */
import { underlying } from '../autodiff/index.js';
import { recording } from '../backend/index.js';
import { broadcastTo, cast, checkTensor, compare, mul, narrow, type Operand, reshape, select } from '../ops/index.js';
import { broadcastShapes, formatShape, full, type Shape, sameShape, type Tensor } from '../tensor/index.js';

/** @throws RangeError when a known entry is negative or NaN. Inside a captured step nothing is known; its first call has looked. */
function checkNonNegative(values: Tensor, name: string): void {
  const known = underlying(values);
  if (known === null || recording() !== null) return;
  for (const value of known.toTypedArray()) {
    if (!(value >= 0)) throw new RangeError(`Expected numbers >= 0 for ${name} but received ${value}`);
  }
}

/**
 * Lambda in x's shape with extent 1 along `axes`. A number serves all; a tensor of x's rank broadcasts as it is; one of lower rank
 * broadcasts against the leading axes: all but height and width (or all but `axes` when these are more), or all but the line's axis when x has rank 1 or 2.
 */
export function spreadLambda(lambda: Operand, x: Tensor, axes: readonly number[], name = 'lambda'): Tensor {
  const shape = x.shape.map((n, i) => (axes.includes(i) ? 1 : n));
  if (typeof lambda === 'number') {
    if (!(lambda >= 0)) throw new RangeError(`Expected a number >= 0 for ${name} but received ${lambda}`);
    return full(shape, lambda, x.dtype);
  }
  const value = cast(checkTensor(lambda, name), x.dtype);
  checkNonNegative(value, name);
  let aligned: Shape = value.shape;
  if (value.rank < x.rank) {
    const lines = axes.length === 1 && x.rank <= 2;
    if (lines && axes[0] === 0) aligned = [1, ...value.shape];
    else aligned = [...value.shape, ...new Array<number>(lines ? 1 : Math.max(2, axes.length)).fill(1)];
  }
  if (aligned.length > x.rank || !broadcastsTo(aligned, shape)) {
    throw new RangeError(
      `Expected ${name} to broadcast against the leading axes of ${formatShape(x.shape)} but received shape ${formatShape(value.shape)}`,
    );
  }
  return broadcastTo(reshape(value, aligned), shape);
}

/** Per-edge weights in the shape of the edges: x's with one entry fewer along `axis`. Leading axes broadcast. */
export function spreadWeights(weights: Tensor, x: Tensor, axis: number, name = 'weights'): Tensor {
  const shape = x.shape.map((n, i) => (i === axis ? Math.max(0, n - 1) : n));
  const value = cast(checkTensor(weights, name), x.dtype);
  // An extent of 1 is taken for a forgotten edge axis unless there is just one edge.
  const edges = value.shape[value.rank - (x.rank - axis)];
  if (value.rank > x.rank || edges !== shape[axis] || !broadcastsTo(value.shape, shape)) {
    throw new RangeError(
      `Expected ${name} to broadcast to ${formatShape(shape)}, one entry per edge, but received shape ${formatShape(value.shape)}`,
    );
  }
  checkNonNegative(value, name);
  return broadcastTo(value, shape);
}

function broadcastsTo(from: Shape, to: Shape): boolean {
  try {
    return sameShape(broadcastShapes(from, to), to);
  } catch {
    return false;
  }
}

/** A validity mask in x's shape, uint8: 1 where `mask` is not zero, 0 elsewhere. */
export function spreadMask(mask: Tensor, x: Tensor, name = 'mask'): Tensor {
  const value = checkTensor(mask, name);
  if (value.rank > x.rank || !broadcastsTo(value.shape, x.shape)) {
    throw new RangeError(`Expected ${name} to broadcast to ${formatShape(x.shape)} but received shape ${formatShape(value.shape)}`);
  }
  return broadcastTo(compare.ne(value, 0), x.shape);
}

/** The weights of the edges along `axis`, 0 where an end is outside the mask; undefined when all are 1. */
export function maskedWeights(
  weights: Tensor | undefined,
  valid: Tensor | undefined,
  x: Tensor,
  axis: number,
  name: string,
): Tensor | undefined {
  const given = weights === undefined ? undefined : spreadWeights(weights, x, axis, name);
  if (valid === undefined) return given;
  const [from, to] = [narrow(valid, axis, 0, -1), narrow(valid, axis, 1)];
  return given === undefined ? mul(cast(from, x.dtype), cast(to, x.dtype)) : select(from, select(to, given, 0), 0);
}
