/** The proximal step of a quadratic data term: what the semi-implicit scheme of TDV (specification, eq. (8)) asks for in every step. */
import { type ConjugateGradientsOptions, conjugateGradients } from '../linalg/index.js';
import { add, checkTensor, mul, type Operand } from '../ops/index.js';
import { full, type Tensor, tidy } from '../tensor/index.js';
import { checkTrailing, type LinearOperator } from './operator.js';

export type ResolventOptions = Pick<ConjugateGradientsOptions, 'tolerance' | 'iterations' | 'start'>;

/**
 * (Id + τ AᵀA)⁻¹ v, in closed form where the operator has one, else by conjugate gradients (each item of the batch is a system of its
 * own). Differentiable in v and τ. An operator without a closed form must not itself hold values that are being differentiated.
 * @param tau a number >= 0 or a tensor of rank 0
 * @param options tolerance (default 1e-6), iterations (default 100) and start of the conjugate gradients
 */
export function resolvent(operator: LinearOperator, v: Tensor, tau: Operand, options: ResolventOptions = {}): Tensor {
  if (typeof tau === 'number' ? !(tau >= 0 && tau < Number.POSITIVE_INFINITY) : checkTensor(tau, 'tau').rank !== 0) {
    throw new RangeError(
      `Expected a number >= 0 or a tensor of rank 0 for tau but received ${typeof tau === 'number' ? tau : `shape [${tau.shape.join(', ')}]`}`,
    );
  }
  checkTrailing(v, operator.inputShape, 'v', operator.name);
  if (operator.hasResolvent) return operator.closedResolvent(v, tau);
  return tidy(() =>
    conjugateGradients((x, t) => add(x, mul(t as Tensor, operator.gram(x))), v, {
      ...options,
      parameters: [typeof tau === 'number' ? full([], tau, v.dtype) : tau],
      axes: operator.inputShape.length || v.rank,
    }),
  );
}

/** argmin_x ½|x - v|² + τ/2 |A x - z|² = (Id + τ AᵀA)⁻¹ (v + τ Aᵀz); arguments as for `resolvent`. Differentiable in v, z and τ. */
export function proximalStep(operator: LinearOperator, v: Tensor, z: Tensor, tau: Operand, options: ResolventOptions = {}): Tensor {
  return tidy(() => resolvent(operator, add(v, mul(operator.adjoint(z), tau)), tau, options));
}
