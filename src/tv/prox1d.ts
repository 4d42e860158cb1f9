/** The one-dimensional proximal map of total variation. */
import { bind1 } from '../autodiff/index.js';
import { cast, checkFloat, mul, narrow, type Operand, prox1dPrimitive, select } from '../ops/index.js';
import { checkAxis, type Tensor, tidy } from '../tensor/index.js';
import { spreadLambda, spreadMask, spreadWeights } from './lambda.js';

export interface Prox1dOptions {
  /** The axis along which the lines run. Default: the last. */
  axis?: number;
  /** Weights >= 0 of the differences: x's shape with one entry fewer along the axis; leading axes broadcast. */
  weights?: Tensor;
  /** Nonzero where a sample is valid; broadcasts to x's shape. Other samples couple with nothing and are returned unchanged. */
  mask?: Tensor;
  /**
   * 'direct' (default): the exact solution in linear time. 'newton': projected Newton on the dual, the method of Yeh et al. 2022, to a
   * relative duality gap; one or two orders of magnitude slower, for comparisons.
   */
  method?: 'direct' | 'newton';
  /** 'newton' only: the relative duality gap at which a line is done, > 0. Default 1e-6. */
  tolerance?: number;
  /** 'newton' only: steps at most, an integer >= 1. Default 100. */
  maxIterations?: number;
}

/**
 * Each line of `x` replaced by argmin_y ½|y - x|² + λ Σ_k w_k |y_{k+1} - y_k| (Yeh et al. 2022, eq. (1)). Exact to rounding, by a
 * direct method, in time linear in the line's length. Differentiable in x, lambda and weights (in forward and reverse mode); with
 * `method: 'newton'` the derivative is the exact solution's.
 * @param x float32 or float64, any shape of rank >= 1
 * @param lambda a number >= 0, or a tensor that broadcasts against the leading axes (or, with x's rank, extent 1 along the axis)
 * @throws RangeError for a negative or NaN lambda or weight, shapes that do not fit, or a tolerance that is not positive. NaN in one line
 * leaves the others untouched.
 */
export function prox1d(x: Tensor, lambda: Operand, options: Prox1dOptions = {}): Tensor {
  return tidy(() => {
    checkFloat(x);
    if (x.rank === 0) throw new RangeError('Expected a tensor of rank >= 1 for x but received a scalar');
    const axis = checkAxis(options.axis ?? -1, x.rank);
    if (x.size === 0) throw new RangeError(`Expected at least one sample for x but received shape [${x.shape.join(', ')}]`);
    const params = { axis, ...newtonParams(options) };
    const inputs = [x, spreadLambda(lambda, x, [axis])];
    if (options.weights !== undefined) inputs.push(spreadWeights(options.weights, x, axis));
    if (options.mask === undefined) return bind1(prox1dPrimitive, inputs, params);

    const valid = spreadMask(options.mask, x);
    const open = cast(valid, x.dtype);
    const edges = mul(narrow(open, axis, 0, -1), narrow(open, axis, 1));
    // Whatever stands outside, NaN too, stays out of the solver.
    const inside = select(valid, x, 0);
    const weights = inputs[2] === undefined ? edges : mul(inputs[2], edges);
    return select(valid, bind1(prox1dPrimitive, [inside, inputs[1] as Tensor, weights], params), x);
  });
}

function newtonParams(options: Prox1dOptions): { newton?: { tolerance: number; maxIterations: number } } {
  const { method = 'direct', tolerance = 1e-6, maxIterations = 100 } = options;
  if (method !== 'direct' && method !== 'newton') {
    throw new RangeError(`Expected 'direct' or 'newton' for method but received ${String(method)}`);
  }
  if (method === 'direct') {
    if (options.tolerance !== undefined || options.maxIterations !== undefined) {
      throw new RangeError("Expected no tolerance or maxIterations for method 'direct' but received one");
    }
    return {};
  }
  if (!(tolerance > 0)) throw new RangeError(`Expected a number > 0 for tolerance but received ${tolerance}`);
  if (!Number.isInteger(maxIterations) || maxIterations < 1) {
    throw new RangeError(`Expected an integer >= 1 for maxIterations but received ${maxIterations}`);
  }
  return { newton: { tolerance, maxIterations } };
}
