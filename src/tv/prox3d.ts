/** The three-dimensional anisotropic proximal map of total variation. */
import { bind } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { add, checkFloat, type Operand, type Prox3dParams, prox3dPrimitive, select, sub } from '../ops/index.js';
import { formatShape, type Tensor, tidy } from '../tensor/index.js';
import { maskedWeights, spreadLambda, spreadMask } from './lambda.js';
import { prox1d } from './prox1d.js';
import { checkIterations, checkTolerance, restore } from './prox2d.js';
import { readReports, type SolverReport } from './report.js';

export interface Prox3dOptions {
  /** Relative duality gap at which a volume is done. Default 1e-6. */
  tolerance?: number;
  /** Exactly this many cycles of plain Dykstra (depth, height, width) instead of a tolerance. */
  iterations?: number;
  /** Limit on the cycles of the accelerated method. Default 10000. */
  maxIterations?: number;
  /** Separate lambdas of the differences along depth, height and width; default: `lambda` for all. */
  lambdaDepth?: Operand;
  lambdaHeight?: Operand;
  lambdaWidth?: Operand;
  /** Weights >= 0 of these differences: x's shape with one entry fewer along that axis; leading axes broadcast. 0 uncouples two voxels. */
  weightsDepth?: Tensor;
  weightsHeight?: Tensor;
  weightsWidth?: Tensor;
  /** Voxels where it is 0 do not couple with their neighbours and are returned as they are, NaN too. Broadcasts to x's shape. */
  mask?: Tensor;
  /**
   * 'implicit' (default with a tolerance): the derivative of the exact solution; it costs a solve to a gap of 1e-10 in float64.
   * 'unrolled' (default with `iterations`): the derivative of the cycles.
   */
  gradient?: 'implicit' | 'unrolled';
}

export interface Solution3d extends SolverReport {
  y: Tensor;
}

/**
 * Each volume of `x` replaced by argmin_Y ½|Y - X|² + λ Σ |differences along the three axes|. Differentiable in x, the lambdas and the
 * weights.
 * @param x [..., depth, height, width], float32 or float64
 * @param lambda a number >= 0, or a tensor that broadcasts against the leading axes
 * @throws RangeError for a negative or NaN lambda or weight, an empty volume, or shapes that do not fit
 */
export function prox3d(x: Tensor, lambda: Operand, options: Prox3dOptions = {}): Tensor {
  return tidy(() => {
    const { inputs, params, valid } = prepare(x, lambda, options);
    const plain = options.iterations !== undefined;
    const gradient = options.gradient ?? (plain ? 'unrolled' : 'implicit');
    if (gradient !== 'implicit' && gradient !== 'unrolled')
      throw new TypeError(`Expected 'implicit' or 'unrolled' for gradient but received ${String(gradient)}`);
    if ((gradient === 'unrolled') !== plain)
      throw new TypeError(`Expected iterations with gradient 'unrolled', and only there, but received ${String(options.iterations)}`);
    return restore(plain ? unrolled(inputs, params) : (bind(prox3dPrimitive, inputs, params)[0] as Tensor), x, valid);
  });
}

/** `prox3d` with its certificate, one entry per volume in the order of the leading axes: see `solve2d`. Voxels outside a mask do not count. */
export function solve3d(x: Tensor, lambda: Operand, options: Prox3dOptions = {}): Solution3d {
  return tidy(() => {
    const { inputs, params, valid } = prepare(x, lambda, options);
    const [y, report] = bind(prox3dPrimitive, inputs, params) as [Tensor, Tensor];
    return { y: restore(y, x, valid), ...readReports(report) };
  });
}

function prepare(
  x: Tensor,
  lambda: Operand,
  options: Prox3dOptions,
): { inputs: Tensor[]; params: Prox3dParams; valid: Tensor | undefined } {
  checkFloat(x);
  if (x.rank < 3 || x.size === 0)
    throw new RangeError(`Expected at least one voxel and three axes for x but received shape ${formatShape(x.shape)}`);
  const plain = options.iterations !== undefined;
  if (plain && options.tolerance !== undefined) throw new TypeError('Expected either iterations or tolerance but received both');
  const axes = [x.rank - 3, x.rank - 2, x.rank - 1];
  const spread = (own: Operand | undefined, name: string): Tensor =>
    spreadLambda(own ?? lambda, x, axes, own === undefined ? 'lambda' : name);
  const valid = options.mask === undefined ? undefined : spreadMask(options.mask, x);
  const weights = (['weightsDepth', 'weightsHeight', 'weightsWidth'] as const).map((name, k) =>
    maskedWeights(options[name], valid, x, axes[k] as number, name),
  );
  return {
    valid,
    inputs: [
      valid === undefined ? x : select(valid, x, 0),
      spread(options.lambdaDepth, 'lambdaDepth'),
      spread(options.lambdaHeight, 'lambdaHeight'),
      spread(options.lambdaWidth, 'lambdaWidth'),
      ...weights.filter((w) => w !== undefined),
    ],
    params: {
      method: plain ? kernels.Tv2dMethod.dykstra : kernels.Tv2dMethod.accelerated,
      tolerance: checkTolerance(options.tolerance),
      maxIterations: plain ? checkIterations(options.iterations, 'iterations') : checkIterations(options.maxIterations, 'maxIterations'),
      weighted: [weights[0] !== undefined, weights[1] !== undefined, weights[2] !== undefined],
      labelled: false,
    },
  };
}

/** Cyclic Dykstra in differentiable operations. */
function unrolled(inputs: readonly Tensor[], { weighted, maxIterations }: Prox3dParams): Tensor {
  const x = inputs[0] as Tensor;
  let at = 4;
  const weights = weighted.map((own) => (own ? inputs[at++] : undefined));
  const residuals: (Tensor | undefined)[] = [undefined, undefined, undefined];
  let y = x;
  for (let cycle = 0; cycle < maxIterations; cycle++) {
    for (let k = 0; k < 3; k++) {
      const [before, w] = [residuals[k], weights[k]];
      const input = before === undefined ? y : add(y, before);
      y = prox1d(input, inputs[k + 1] as Tensor, { axis: x.rank - 3 + k, ...(w !== undefined && { weights: w }) });
      residuals[k] = sub(input, y);
    }
  }
  return y;
}
