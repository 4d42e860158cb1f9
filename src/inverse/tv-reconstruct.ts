/** Total-variation regularised reconstruction: the baseline that learned regularisers are measured against. */
import { add, mul, square, sub, sum, zerosOf } from '../ops/index.js';
import { full, type Tensor, tidy } from '../tensor/index.js';
import { prox2d, rof, totalVariation } from '../tv/index.js';
import { operatorNorm } from './measure.js';
import { checkTrailing, type LinearOperator } from './operator.js';

export interface TvReconstructOptions {
  /** Σ sqrt(dx² + dy²) (default) or Σ |dx| + |dy|. */
  isotropic?: boolean;
  /** First guess [..., inputShape]. Default: zeros. */
  start?: Tensor;
  /** Most steps. Default 300. */
  iterations?: number;
  /** Stops once |x_{k+1} - x_k| <= tolerance |x_{k+1}|. Default 1e-5. */
  tolerance?: number;
  /** Relative duality gap to which each proximal map is solved. Default 1e-3. */
  proxTolerance?: number;
  /** The operator's norm, where it is known. Default: measured by power iteration. */
  norm?: number;
  /** Sees every iterate, numbered from 1, and stops by returning false. It must not keep x. */
  onIteration?: (k: number, x: Tensor) => unknown;
}

export interface TvReconstruction {
  x: Tensor;
  iterations: number;
  /** ½ |A x - z|² + λ TV(x) */
  energy: number;
}

/**
 * argmin_x ½ |A x - z|² + λ TV(x) for images in the operator's last two axes, by the fast proximal gradient method (Beck and Teboulle
 * 2009) with restarts when the momentum points uphill (O'Donoghue and Candès 2015). A batch is solved together, image by image
 * independent but for the stopping rule.
 * @param z measurements [..., outputShape]
 * @param lambda weight of the total variation, >= 0
 * @throws RangeError for options out of range, shapes that do not fit, or an operator without two image axes
 */
export function tvReconstruct(operator: LinearOperator, z: Tensor, lambda: number, options: TvReconstructOptions = {}): TvReconstruction {
  checkTrailing(z, operator.outputShape, 'z', operator.name);
  const { isotropic = true, start, iterations = 300, tolerance = 1e-5, proxTolerance = 1e-3, onIteration } = options;
  if (!(lambda >= 0 && lambda < Number.POSITIVE_INFINITY)) {
    throw new RangeError(`Expected a number >= 0 for lambda but received ${String(lambda)}`);
  }
  if (!Number.isInteger(iterations) || iterations < 1) {
    throw new RangeError(`Expected an integer >= 1 for iterations but received ${String(iterations)}`);
  }
  if (!(tolerance >= 0)) throw new RangeError(`Expected a number >= 0 for tolerance but received ${String(tolerance)}`);
  const shape =
    operator.inputShape.length === 0 ? z.shape : [...z.shape.slice(0, z.rank - operator.outputShape.length), ...operator.inputShape];
  if (shape.length < 2)
    throw new RangeError(`Expected an operator on images for tvReconstruct but received ${operator.name} of rank ${shape.length}`);
  if (start !== undefined) checkTrailing(start, shape, 'start', operator.name);
  return tidy(() => {
    const norm = options.norm ?? tvNorm(operator);
    if (!(norm > 0 && norm < Number.POSITIVE_INFINITY)) throw new RangeError(`Expected a number > 0 for norm but received ${norm}`);
    const step = 1 / (norm * norm);
    const prox = (v: Tensor): Tensor =>
      isotropic ? rof(v, lambda * step, { tolerance: proxTolerance }) : prox2d(v, lambda * step, { tolerance: proxTolerance });
    let x = start?.own() ?? zerosOf(shape, z.dtype);
    let y = x.own();
    let momentum = 1;
    let k = 0;
    for (; k < iterations; ) {
      const { next, uphill, moved } = tidy(() => {
        const stepped = prox(sub(y, mul(operator.adjoint(sub(operator.apply(y), z)), step)));
        const change = sub(stepped, x);
        // The step taken, y - next, is a generalised gradient: uphill when it agrees with the last direction.
        const agreement = sum(mul(sub(y, stepped), change)).item();
        return { next: stepped, uphill: agreement > 0, moved: Math.sqrt(sum(square(change)).item() / sum(square(stepped)).item()) };
      });
      const grown = (1 + Math.sqrt(1 + 4 * momentum * momentum)) / 2;
      const weight = uphill ? 0 : (momentum - 1) / grown;
      momentum = uphill ? 1 : grown;
      y.dispose();
      y = tidy(() => (weight === 0 ? next.own() : add(next, mul(sub(next, x), weight))));
      x.dispose();
      x = next;
      k++;
      if (onIteration?.(k, x) === false || !(moved > tolerance)) break;
    }
    const energy = 0.5 * sum(square(sub(operator.apply(x), z))).item() + lambda * sum(totalVariation(x, { isotropic })).item();
    return { x, iterations: k, energy };
  });
}

/** @internal The operator's norm for step sizes: the power iteration approaches it from below. */
export function tvNorm(operator: LinearOperator): number {
  if (operator.inputShape.length > 0) return operatorNorm(operator) * 1.01;
  // An elementwise operator of any shape is c Id.
  return tidy(() => Math.abs(operator.apply(full([], 1)).item()));
}
