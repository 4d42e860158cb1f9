/** The quadratic data term of a linear inverse problem. */
import { add, mul, type Operand, square, sub, sum } from '../ops/index.js';
import type { Tensor } from '../tensor/index.js';
import { tidy } from '../tensor/index.js';
import { checkTrailing, type LinearOperator } from './operator.js';

/** An energy with its gradient: what the gradient methods minimise. */
export interface Energy {
  /** The energy alone, a tensor of rank 0. */
  value(x: Tensor): Tensor;
  /** Both at once. */
  valueAndGradient(x: Tensor): { value: Tensor; gradient: Tensor };
}

/**
 * x → weight / 2 |A x - z|², with its gradient weight Aᵀ(A x - z). Differentiable in everything.
 * @param z measurements that end in the operator's output shape
 * @param weight a number or a tensor of rank 0. Default 1.
 */
export function leastSquares(operator: LinearOperator, z: Tensor, weight: Operand = 1): Energy {
  checkTrailing(z, operator.outputShape, 'z', operator.name);
  const energyOf = (residual: Tensor): Tensor => mul(mul(sum(square(residual)), 0.5), weight);
  return {
    value: (x) => tidy(() => energyOf(sub(operator.apply(x), z))),
    valueAndGradient: (x) =>
      tidy(() => {
        const residual = sub(operator.apply(x), z);
        return { value: energyOf(residual), gradient: mul(operator.adjoint(residual), weight) };
      }),
  };
}

/** The sum of two energies. */
export function sumEnergies(a: Energy, b: Energy): Energy {
  return {
    value: (x) => tidy(() => add(a.value(x), b.value(x))),
    valueAndGradient: (x) =>
      tidy(() => {
        const [p, q] = [a.valueAndGradient(x), b.valueAndGradient(x)];
        return { value: add(p.value, q.value), gradient: add(p.gradient, q.gradient) };
      }),
  };
}
