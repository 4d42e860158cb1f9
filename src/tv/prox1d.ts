/** The one-dimensional proximal map of total variation. */
import { bind1 } from '../autodiff/index.js';
import { checkFloat, type Operand, prox1dPrimitive } from '../ops/index.js';
import { checkAxis, type Tensor, tidy } from '../tensor/index.js';
import { spreadLambda, spreadWeights } from './lambda.js';

export interface Prox1dOptions {
  /** The axis along which the lines run. Default: the last. */
  axis?: number;
  /** Weights >= 0 of the differences: x's shape with one entry fewer along the axis; leading axes broadcast. */
  weights?: Tensor;
}

/**
 * Each line of `x` replaced by argmin_y ½|y - x|² + λ Σ_k w_k |y_{k+1} - y_k| (Yeh et al. 2022, eq. (1)). Exact to rounding, by a
 * direct method, in time linear in the line's length. Differentiable in x, lambda and weights (in forward and reverse mode).
 * @param x float32 or float64, any shape of rank >= 1
 * @param lambda a number >= 0, or a tensor that broadcasts against the leading axes (or, with x's rank, extent 1 along the axis)
 * @throws RangeError for a negative or NaN lambda or weight, or shapes that do not fit. NaN in one line leaves the others untouched.
 */
export function prox1d(x: Tensor, lambda: Operand, options: Prox1dOptions = {}): Tensor {
  return tidy(() => {
    checkFloat(x);
    if (x.rank === 0) throw new RangeError('Expected a tensor of rank >= 1 for x but received a scalar');
    const axis = checkAxis(options.axis ?? -1, x.rank);
    if (x.size === 0) throw new RangeError(`Expected at least one sample for x but received shape [${x.shape.join(', ')}]`);
    const inputs = [x, spreadLambda(lambda, x, [axis])];
    if (options.weights !== undefined) inputs.push(spreadWeights(options.weights, x, axis));
    return bind1(prox1dPrimitive, inputs, { axis });
  });
}
