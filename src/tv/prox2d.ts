/** The two-dimensional anisotropic proximal map of total variation. */
import { bind, Tracer } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { add, checkFloat, type Operand, type Prox2dParams, prox2dPrimitive, sub } from '../ops/index.js';
import { formatShape, type Tensor, tidy } from '../tensor/index.js';
import { spreadLambda, spreadWeights } from './lambda.js';
import { prox1d } from './prox1d.js';
import { readReports, type SolverReport } from './report.js';

export interface Prox2dOptions {
  /** Relative duality gap at which an image is done. Default 1e-6. */
  tolerance?: number;
  /** Exactly this many sweeps of plain Dykstra (Yeh et al. 2022, algorithm 1; K = 4 there) instead of a tolerance. */
  iterations?: number;
  /** Limit on the sweeps of the accelerated method. Default 10000. */
  maxIterations?: number;
  /** Separate lambdas of the differences inside rows and inside columns; default: `lambda` for both. */
  lambdaRows?: Operand;
  lambdaCols?: Operand;
  /** Weights >= 0 of the horizontal differences [..., h, w - 1] and of the vertical ones [..., h - 1, w]. */
  weightsX?: Tensor;
  weightsY?: Tensor;
  /**
   * 'implicit' (default with a tolerance): the derivative of the exact solution; it costs a solve to a gap of 1e-10 in float64.
   * 'unrolled' (default with `iterations`): the derivative of the sweeps.
   */
  gradient?: 'implicit' | 'unrolled';
}

export interface Solution2d extends SolverReport {
  y: Tensor;
}

const DEFAULT_TOLERANCE = 1e-6;
const DEFAULT_MAX_ITERATIONS = 10_000;

/** @internal Checked inputs of the primitive. */
export interface Prepared2d {
  inputs: Tensor[];
  params: Prox2dParams;
}

export function checkImage(x: Tensor, name = 'x'): void {
  checkFloat(x, name);
  if (x.rank < 2 || x.size === 0)
    throw new RangeError(`Expected at least one pixel and two axes for ${name} but received shape ${formatShape(x.shape)}`);
}

export function checkTolerance(tolerance: number | undefined): number {
  if (tolerance !== undefined && !(tolerance > 0 && tolerance < 1)) {
    throw new RangeError(`Expected a number in (0, 1) for tolerance but received ${String(tolerance)}`);
  }
  return tolerance ?? DEFAULT_TOLERANCE;
}

export function checkIterations(value: number | undefined, name: string): number {
  if (value !== undefined && !(Number.isInteger(value) && value >= 1)) {
    throw new RangeError(`Expected an integer >= 1 for ${name} but received ${String(value)}`);
  }
  return value ?? DEFAULT_MAX_ITERATIONS;
}

/** @internal */
export function prepare2d(x: Tensor, lambda: Operand, options: Prox2dOptions): Prepared2d {
  checkImage(x);
  if (options.iterations !== undefined && options.tolerance !== undefined) {
    throw new TypeError('Expected either iterations or tolerance but received both');
  }
  const axes = [x.rank - 2, x.rank - 1];
  const inputs = [
    x,
    spreadLambda(options.lambdaRows ?? lambda, x, axes, options.lambdaRows === undefined ? 'lambda' : 'lambdaRows'),
    spreadLambda(options.lambdaCols ?? lambda, x, axes, options.lambdaCols === undefined ? 'lambda' : 'lambdaCols'),
  ];
  if (options.weightsX !== undefined) inputs.push(spreadWeights(options.weightsX, x, x.rank - 1, 'weightsX'));
  if (options.weightsY !== undefined) inputs.push(spreadWeights(options.weightsY, x, x.rank - 2, 'weightsY'));
  const plain = options.iterations !== undefined;
  return {
    inputs,
    params: {
      method: plain ? kernels.Tv2dMethod.dykstra : kernels.Tv2dMethod.accelerated,
      tolerance: checkTolerance(options.tolerance),
      maxIterations: plain ? checkIterations(options.iterations, 'iterations') : checkIterations(options.maxIterations, 'maxIterations'),
      hasWeightsX: options.weightsX !== undefined,
      hasWeightsY: options.weightsY !== undefined,
      labelled: false,
    },
  };
}

/**
 * Each image of `x` replaced by argmin_Y ½|Y - X|² + λ (Σ |horizontal differences| + Σ |vertical differences|)
 * (Yeh et al. 2022, eq. (2)). Differentiable in x, the lambdas and the weights.
 * @param x [..., height, width], float32 or float64
 * @param lambda a number >= 0, or a tensor that broadcasts against the leading axes
 * @throws RangeError for a negative or NaN lambda or weight, an empty image, or shapes that do not fit
 */
export function prox2d(x: Tensor, lambda: Operand, options: Prox2dOptions = {}): Tensor {
  return tidy(() => {
    const { inputs, params } = prepare2d(x, lambda, options);
    const gradient = options.gradient ?? (options.iterations === undefined ? 'implicit' : 'unrolled');
    if (gradient !== 'implicit' && gradient !== 'unrolled') {
      throw new TypeError(`Expected 'implicit' or 'unrolled' for gradient but received ${String(gradient)}`);
    }
    if (gradient === 'unrolled' && options.iterations === undefined)
      throw new TypeError("Expected iterations with gradient 'unrolled' but received none");
    if (gradient === 'implicit' && options.iterations !== undefined)
      throw new TypeError("Expected a tolerance with gradient 'implicit' but received iterations");
    if (gradient === 'unrolled' && inputs.some((input) => input instanceof Tracer)) return unrolled(inputs, params);
    return bind(prox2dPrimitive, inputs, params)[0] as Tensor;
  });
}

/**
 * `prox2d` with its certificate: the duality gap P(y) - D(u) with a feasible dual u bounds the distance of the objective from its
 * minimum, and sqrt(2 gap) that of y from the solution. One entry per image, in the order of the leading axes.
 */
export function solve2d(x: Tensor, lambda: Operand, options: Prox2dOptions = {}): Solution2d {
  return tidy(() => {
    const { inputs, params } = prepare2d(x, lambda, options);
    const [y, report] = bind(prox2dPrimitive, inputs, params) as [Tensor, Tensor];
    return { y, ...readReports(report) };
  });
}

/** Algorithm 1 of Yeh et al. 2022 in differentiable operations. */
function unrolled(inputs: readonly Tensor[], params: Prox2dParams): Tensor {
  const [x, rows, cols] = inputs as [Tensor, Tensor, Tensor];
  const weightsX = params.hasWeightsX ? inputs[3] : undefined;
  const weightsY = params.hasWeightsY ? inputs[params.hasWeightsX ? 4 : 3] : undefined;
  const along = (v: Tensor, axis: number, lambda: Tensor, weights: Tensor | undefined): Tensor =>
    prox1d(v, lambda, { axis, ...(weights !== undefined && { weights }) });
  let y = x;
  let p: Tensor | undefined;
  let q: Tensor | undefined;
  for (let k = 0; k < params.maxIterations; k++) {
    const toRows = p === undefined ? y : add(y, p);
    const z = along(toRows, -1, rows, weightsX);
    p = sub(toRows, z);
    const toCols = q === undefined ? z : add(z, q);
    y = along(toCols, -2, cols, weightsY);
    q = sub(toCols, y);
  }
  return y;
}
