/**
 * One step of the semi-implicit scheme (specification §3, eq. (7) and (8)):
 *   x_{s+1} = argmin_x ½|x - v|² + τ/2 |A x - z|² = B⁻¹ (v + τ Aᵀz),   v = x_s - a ∇R(x_s),   B = Id + τ AᵀA,
 * with a = T/S, and τ = λ/S (the published models) or τ = T/S (the paper).
 */
import { identity, type LinearOperator, type ResolventOptions, resolvent } from '../../inverse/index.js';
import { add, mul, sub } from '../../ops/index.js';
import { type Tensor, tidy } from '../../tensor/index.js';
import { energyGradient } from './gradient.js';
import type { Weights } from './weights.js';

/** What the data term is made of. */
export interface DataTerm {
  /** A, from images to measurements. Default: the identity, so denoising. */
  operator?: LinearOperator;
  /** Tolerance and steps of the conjugate gradients, where B⁻¹ has no closed form. Each step starts from the last state. */
  conjugateGradients?: Pick<ResolventOptions, 'tolerance' | 'iterations'>;
}

const denoising = identity();

export const operatorOf = ({ operator = denoising }: DataTerm): LinearOperator => operator;

/** B⁻¹ v = (Id + τ AᵀA)⁻¹ v, in closed form or by conjugate gradients. */
export function dataResolvent(v: Tensor, tau: Tensor, term: DataTerm, start?: Tensor): Tensor {
  return resolvent(operatorOf(term), v, tau, { ...term.conjugateGradients, ...(start && { start }) });
}

/** The two numbers of a step: a of the regulariser, τ of the data term; tensors of rank 0. */
export type StepSizes = { readonly a: Tensor; readonly tau: Tensor };

/**
 * x_{s+1} from x_s.
 * @param b Aᵀz
 */
export function schemeStep(weights: Weights, { a, tau }: StepSizes, x: Tensor, b: Tensor, nu: number, term: DataTerm): Tensor {
  return tidy(() => {
    const v = sub(x, mul(energyGradient(weights, x, nu), a));
    return dataResolvent(add(v, mul(b, tau)), tau, term, x);
  });
}
