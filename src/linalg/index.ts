/**
 * Batched tridiagonal linear algebra with LAPACK's meanings. Systems run along the last axis, leading axes are the batch.
 */
import { bind1, Tracer } from '../autodiff/index.js';
import { checkFloat, factorise, gtsvPrimitive, ptsvPrimitive, pttrsPrimitive } from '../ops/index.js';
import { formatShape, type Shape, sameShape, type Tensor } from '../tensor/index.js';

function checkSystem(parts: Readonly<Record<string, [Tensor, number]>>, n: Shape): void {
  let dtype: string | undefined;
  for (const [name, [value, shorter]] of Object.entries(parts)) {
    checkFloat(value, name);
    dtype ??= value.dtype;
    const expected = n.map((extent, i) => (i === n.length - 1 ? Math.max(0, extent - shorter) : extent));
    if (n.length === 0 || !sameShape(value.shape, expected)) {
      throw new RangeError(`Expected shape ${formatShape(expected)} for ${name} but received ${formatShape(value.shape)}`);
    }
    if (value.dtype !== dtype) throw new TypeError(`Expected dtype ${dtype} for ${name} but received ${value.dtype}`);
  }
}

/**
 * L D Lᵀ factorisation of symmetric positive definite tridiagonal matrices.
 * @param d diagonals [..., n]
 * @param e off-diagonals [..., n - 1]
 * @returns `d` [..., n], the diagonal of D, and `l` [..., n - 1], the subdiagonal of the unit lower triangular L
 * @throws RangeError when a matrix is not positive definite
 */
export function pttrf(d: Tensor, e: Tensor): { d: Tensor; l: Tensor } {
  checkSystem({ d: [d, 0], e: [e, 1] }, d.shape);
  if (d instanceof Tracer || e instanceof Tracer)
    throw new TypeError('Expected tensors with data for pttrf but received a value that is being differentiated: use ptsv');
  return factorise(d, e);
}

/** Solves with the factors of `pttrf`. Differentiable in b. */
export function pttrs(d: Tensor, l: Tensor, b: Tensor): Tensor {
  checkSystem({ b: [b, 0], d: [d, 0], l: [l, 1] }, b.shape);
  if (d instanceof Tracer || l instanceof Tracer)
    throw new TypeError('Expected constant factors for pttrs but received values that are being differentiated: use ptsv');
  return bind1(pttrsPrimitive, [d, l, b], null);
}

/** Solves symmetric positive definite tridiagonal systems. Differentiable in d, e and b. */
export function ptsv(d: Tensor, e: Tensor, b: Tensor): Tensor {
  checkSystem({ b: [b, 0], d: [d, 0], e: [e, 1] }, b.shape);
  return bind1(ptsvPrimitive, [d, e, b], null);
}

/** Solves general tridiagonal systems with partial pivoting. dl and du: [..., n - 1]. Differentiable in all arguments. */
export function gtsv(dl: Tensor, d: Tensor, du: Tensor, b: Tensor): Tensor {
  checkSystem({ b: [b, 0], dl: [dl, 1], d: [d, 0], du: [du, 1] }, b.shape);
  return bind1(gtsvPrimitive, [dl, d, du, b], null);
}

export {
  type ConjugateGradientsOptions,
  type ConjugateGradientsSolution,
  conjugateGradients,
  solveConjugateGradients,
} from './conjugate-gradients.js';
