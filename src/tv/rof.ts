/** Isotropic total variation: the model of Rudin, Osher and Fatemi. */
import { bind } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { cast, checkFloat, checkTensor, type Operand, type RofParams, rofDualShape, rofPrimitive } from '../ops/index.js';
import { formatShape, sameShape, type Tensor, tidy } from '../tensor/index.js';
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
   * 'auto' (default): the accelerated primal-dual method of Chambolle and Pock where lambda is a tenth of the data's range or more and there
   * is no `init`, FISTA with restart otherwise.
   */
  method?: 'auto' | 'fista' | 'primal-dual';
  /** A dual field to start from, as `solveRof` returns it (for a lambda and data nearby: it is projected on the constraint). */
  init?: Tensor;
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

function run(x: Tensor, lambda: Operand, options: RofOptions, withDual: boolean): Tensor[] {
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
  return bind(rofPrimitive, inputs, params);
}
