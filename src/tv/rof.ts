/** Isotropic total variation: the model of Rudin, Osher and Fatemi. */
import { bind } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import {
  add,
  besideField,
  cast,
  checkFloat,
  checkTensor,
  compare,
  div,
  gradientAdjoint,
  gradientField,
  mul,
  type Operand,
  type RofParams,
  rofDualShape,
  rofPrimitive,
  select,
  sqrt,
  square,
  squaredLengths,
  sub,
} from '../ops/index.js';
import { formatShape, sameShape, type Tensor, tidy, zeros } from '../tensor/index.js';
import { spreadLambda } from './lambda.js';
import { checkIterations, checkTolerance } from './prox2d.js';
import { readReports, type SolverReport } from './report.js';

export interface RofOptions {
  /** Relative duality gap at which an image is done. Default 1e-6. */
  tolerance?: number;
  /** Default 10000. */
  maxIterations?: number;
  /** 2 (default): the last two axes are an image. 3: the last three are a volume. */
  dims?: 2 | 3;
  /**
   * 'independent' (default): every leading index is an image of its own. 'coupled': the axis before the image holds channels whose gradients
   * share one norm, sqrt(Σ over channels and directions of squared differences) (vectorial total variation, Blomgren & Chan 1998).
   */
  channels?: 'independent' | 'coupled';
  /**
   * 'auto' (default): the accelerated primal-dual method of Chambolle and Pock where lambda is 0.08 or more of the data's range (rounded down to a power of two) and there
   * is no `init`, FISTA with restart otherwise.
   */
  method?: 'auto' | 'fista' | 'primal-dual';
  /** A dual field to start from, as `solveRof` returns it (for a lambda and data nearby: it is projected on the constraint). */
  init?: Tensor;
  /**
   * 'implicit' (default): the derivative of the exact solution in x and lambda, by conjugate gradients on the linearised optimality system. The
   * solve behind it goes to a relative gap of 1e-13 in float64; against central differences the test allows 2e-4 of the derivative, and
   * where a pixel's gradient is just leaving 0 the derivative itself jumps. Not twice differentiable. 'unrolled': the derivative of exactly
   * `iterations` steps of FISTA without restart, any number of times.
   */
  gradient?: 'implicit' | 'unrolled';
  /** Steps of the unrolled method. */
  iterations?: number;
}

export interface RofSolution extends SolverReport {
  y: Tensor;
  /**
   * [..., dims, (depth,) height, width]: one component per differenced axis, in their order, 0 at the axis' end. y = x + div(dual) with
   * (div u)_i = u_i - u_{i-1} along each axis, and |dual| <= lambda pixel by pixel.
   */
  dual: Tensor;
}

/**
 * Each image of `x` replaced by argmin_Y ½|Y - X|² + λ Σ |DY|, |DY| = sqrt(dx² + dy²), with forward differences that are 0 across the border
 * (Rudin, Osher & Fatemi 1992).
 * @param x [..., height, width], or [..., depth, height, width] with `dims: 3`; float32 or float64
 * @param lambda a number >= 0, or a tensor that broadcasts against the leading axes (without the channels where these are coupled)
 * Differentiable in x and lambda, in forward and reverse mode.
 * @throws RangeError for a negative or NaN lambda, an empty image, or shapes that do not fit
 */
export function rof(x: Tensor, lambda: Operand, options: RofOptions = {}): Tensor {
  return tidy(() => run(x, lambda, options, false)[0] as Tensor);
}

/** `rof` with its certificate (one entry per image, in the order of the leading axes) and the dual field that it ended with. */
export function solveRof(x: Tensor, lambda: Operand, options: RofOptions = {}): RofSolution {
  return tidy(() => {
    const [y, report, dual] = run(x, lambda, options, true) as [Tensor, Tensor, Tensor];
    return { y, dual, ...readReports(report) };
  });
}

const METHODS = { auto: kernels.RofMethod.auto, fista: kernels.RofMethod.fista, 'primal-dual': kernels.RofMethod.primalDual };

/** @internal Checked inputs of the primitive: x, lambda and, where given, the dual to start from. */
export function prepareRof(x: Tensor, lambda: Operand, options: RofOptions, withDual: boolean): { inputs: Tensor[]; params: RofParams } {
  const { dims = 2, channels = 'independent', method = 'auto', init } = options;
  checkFloat(x);
  if (dims !== 2 && dims !== 3) throw new RangeError(`Expected 2 or 3 for dims but received ${String(dims)}`);
  if (channels !== 'independent' && channels !== 'coupled')
    throw new TypeError(`Expected 'independent' or 'coupled' for channels but received ${String(channels)}`);
  if (!(method in METHODS)) throw new TypeError(`Expected 'auto', 'fista' or 'primal-dual' for method but received ${String(method)}`);
  const coupled = channels === 'coupled';
  const own = dims + (coupled ? 1 : 0);
  if (x.rank < own || x.size === 0)
    throw new RangeError(`Expected at least one pixel and ${own} axes for x but received shape ${formatShape(x.shape)}`);
  const axes = Array.from({ length: own }, (_, k) => x.rank - own + k);
  const inputs = [x, spreadLambda(lambda, x, axes)];
  if (init !== undefined) {
    const shape = rofDualShape(x.shape, dims);
    if (!sameShape(checkTensor(init, 'init').shape, shape))
      throw new RangeError(`Expected shape ${formatShape(shape)} for init but received ${formatShape(init.shape)}`);
    inputs.push(cast(checkFloat(init, 'init'), x.dtype));
  }
  const params: RofParams = {
    tolerance: checkTolerance(options.tolerance),
    maxIterations: checkIterations(options.maxIterations, 'maxIterations'),
    method: METHODS[method],
    dims,
    coupled,
    withDual,
  };
  return { inputs, params };
}

function run(x: Tensor, lambda: Operand, options: RofOptions, withDual: boolean): Tensor[] {
  const { inputs, params } = prepareRof(x, lambda, options, withDual);
  const { gradient = 'implicit', iterations } = options;
  if (gradient !== 'implicit' && gradient !== 'unrolled')
    throw new TypeError(`Expected 'implicit' or 'unrolled' for gradient but received ${String(gradient)}`);
  if ((gradient === 'unrolled') !== (iterations !== undefined))
    throw new TypeError(`Expected iterations with gradient 'unrolled', and only there, but received ${String(iterations)}`);
  if (gradient === 'implicit') return bind(rofPrimitive, inputs, params);
  if (withDual) throw new TypeError("Expected gradient 'implicit' for solveRof but received 'unrolled'");
  return [unrolled(inputs, checkIterations(iterations, 'iterations'), params)];
}

/** FISTA (Beck & Teboulle 2009) in differentiable operations. */
function unrolled([x, lambda, init]: readonly Tensor[], iterations: number, params: RofParams): Tensor {
  const { dims } = params;
  const bound = besideField(lambda as Tensor, dims);
  let u = init ?? zeros(rofDualShape((x as Tensor).shape, dims), (x as Tensor).dtype);
  let v = u;
  for (let k = 0; k < iterations; k++) {
    const y = sub(x as Tensor, gradientAdjoint(v, dims));
    const step = add(v, mul(gradientField(y, dims), 1 / (4 * dims)));
    // The projection's derivative is the identity inside the ball, its border included.
    const squares = squaredLengths(step, params);
    const outside = compare.gt(squares, square(bound));
    const next = select(outside, mul(step, div(bound, sqrt(select(outside, squares, 1)))), step);
    v = add(next, mul(sub(next, u), k / (k + 5)));
    u = next;
  }
  return sub(x as Tensor, gradientAdjoint(u, dims));
}
