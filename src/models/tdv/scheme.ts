/**
 * One step of the semi-implicit scheme (specification §3, eq. (7) and (8)):
 *   x_{s+1} = argmin_x ½|x - v|² + τ/2 |A x - z|² = B⁻¹ (v + τ Aᵀz),   v = x_s - a ∇R(x_s),   B = Id + τ AᵀA,
 * with a = T/S, and τ = λ/S (the published models) or τ = T/S (the paper).
 */
import { add, mul, type Operand, reciprocal, sub } from '../../ops/index.js';
import { type Tensor, tidy } from '../../tensor/index.js';
import { energyGradient } from './gradient.js';
import type { Weights } from './weights.js';

/** What the scheme asks of a linear operator A from images to measurements. All of it is linear in its tensor and differentiable. */
export interface DataOperator {
  /** What error sentences call it. */
  readonly name: string;
  apply(x: Tensor): Tensor;
  /** The exact transpose of `apply`. */
  adjoint(y: Tensor): Tensor;
  /** (Id + τ AᵀA)⁻¹ v, also differentiable in τ >= 0, a number or a tensor of rank 0. */
  resolvent(v: Tensor, tau: Operand): Tensor;
}

/** Denoising: A = Id. */
export const denoising: DataOperator = {
  name: 'identity',
  apply: (x) => x,
  adjoint: (y) => y,
  resolvent: (v, tau) => mul(v, typeof tau === 'number' ? 1 / (1 + tau) : reciprocal(add(tau, 1))),
};

/** The two numbers of a step: a of the regulariser, τ of the data term; tensors of rank 0. */
export type StepSizes = { readonly a: Tensor; readonly tau: Tensor };

/**
 * x_{s+1} from x_s.
 * @param b Aᵀz
 */
export function schemeStep(weights: Weights, { a, tau }: StepSizes, x: Tensor, b: Tensor, nu: number, operator: DataOperator): Tensor {
  return tidy(() => {
    const v = sub(x, mul(energyGradient(weights, x, nu), a));
    return operator.resolvent(add(v, mul(b, tau)), tau);
  });
}
