/** The two-dimensional anisotropic proximal map of total variation. */
import { bind, Tracer } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { add, checkFloat, checkTensor, dualShape, type Operand, type Prox2dParams, prox2dPrimitive, select, sub } from '../ops/index.js';
import { formatShape, sameShape, type Tensor, tidy } from '../tensor/index.js';
import { maskedWeights, spreadLambda, spreadMask } from './lambda.js';
import { prox1d } from './prox1d.js';
import { readReports, type SolverReport } from './report.js';

export interface Prox2dOptions {
  /** Relative duality gap at which an image is done. Default 1e-6. At most one of tolerance, exact and iterations may be given. */
  tolerance?: number;
  /** The solution itself, up to rounding: found in float64 whatever x's type, with a relative gap below 1e-13. */
  exact?: boolean;
  /** Exactly this many sweeps of plain Dykstra (Yeh et al. 2022, algorithm 1; K = 4 there). */
  iterations?: number;
  /**
   * How the tolerance is reached. 'auto' (default) chooses by the weights, and finishes exactly where that costs no more; 'dykstra':
   * accelerated Dykstra, rows and columns in turn; 'pixels': accelerated projected gradient on the edges. Only with a tolerance.
   */
  method?: 'auto' | 'dykstra' | 'pixels';
  /** Limit on the sweeps of the accelerated method (of those before the finish with `exact`). Default 10000. */
  maxIterations?: number;
  /** Separate lambdas of the differences inside rows and inside columns; default: `lambda` for both. */
  lambdaRows?: Operand;
  lambdaCols?: Operand;
  /** Weights >= 0 of the horizontal differences [..., h, w - 1] and of the vertical ones [..., h - 1, w]. */
  weightsX?: Tensor;
  weightsY?: Tensor;
  /** Pixels where it is 0 do not couple with their neighbours and are returned as they are, NaN too. Broadcasts to x's shape. */
  mask?: Tensor;
  /** A dual [..., 2, height, width] of x's type to start from: that of `solve2d` for a similar problem. Not with `iterations`. */
  init?: Tensor;
  /**
   * 'implicit' (default but with `iterations`): the derivative of the exact solution. While a derivative is taken, the solution itself is
   * finished exactly, whatever the tolerance.
   * 'unrolled' (default with `iterations`): the derivative of the sweeps.
   */
  gradient?: 'implicit' | 'unrolled';
}

export interface Solution2d extends SolverReport {
  y: Tensor;
  /**
   * [..., 2, height, width]: the dual u of the certificate, of the edges to the right and of those below (0 where there is none); |u| is
   * at most the edge's weight and, at the solution, y = x - Dᵀu. `init` takes it.
   */
  dual: Tensor;
}

const METHODS = { auto: kernels.Tv2dMethod.accelerated, dykstra: kernels.Tv2dMethod.sweeps, pixels: kernels.Tv2dMethod.pixels };
const DEFAULT_TOLERANCE = 1e-6;
const DEFAULT_MAX_ITERATIONS = 10_000;

/** @internal Checked inputs of the primitive. */
export interface Prepared2d {
  inputs: Tensor[];
  params: Prox2dParams;
  /** 1 at the pixels of the mask, of x's shape. */
  valid: Tensor | undefined;
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
  const { exact = false } = options;
  if (typeof exact !== 'boolean') throw new TypeError(`Expected a boolean for exact but received ${String(exact)}`);
  const wishes = (['tolerance', 'exact', 'iterations'] as const).filter((name) => options[name] !== undefined && options[name] !== false);
  if (wishes.length > 1)
    throw new TypeError(`Expected at most one of tolerance, exact and iterations but received ${wishes.join(' and ')}`);
  const plain = options.iterations !== undefined;
  const { method = 'auto' } = options;
  if (!Object.hasOwn(METHODS, method))
    throw new TypeError(`Expected 'auto', 'dykstra' or 'pixels' for method but received ${String(method)}`);
  if (method !== 'auto' && (plain || exact))
    throw new TypeError(`Expected method 'auto' with exact or iterations but received '${method}'`);
  const axes = [x.rank - 2, x.rank - 1];
  const valid = options.mask === undefined ? undefined : spreadMask(options.mask, x);
  const inputs = [
    valid === undefined ? x : select(valid, x, 0),
    spreadLambda(options.lambdaRows ?? lambda, x, axes, options.lambdaRows === undefined ? 'lambda' : 'lambdaRows'),
    spreadLambda(options.lambdaCols ?? lambda, x, axes, options.lambdaCols === undefined ? 'lambda' : 'lambdaCols'),
  ];
  const weightsX = maskedWeights(options.weightsX, valid, x, x.rank - 1, 'weightsX');
  const weightsY = maskedWeights(options.weightsY, valid, x, x.rank - 2, 'weightsY');
  if (weightsX !== undefined) inputs.push(weightsX);
  if (weightsY !== undefined) inputs.push(weightsY);
  if (options.init !== undefined) {
    if (plain) throw new TypeError('Expected no init with iterations but received one');
    inputs.push(checkInit(options.init, x));
  }
  return {
    inputs,
    valid,
    params: {
      method: plain ? kernels.Tv2dMethod.dykstra : exact ? kernels.Tv2dMethod.exact : METHODS[method],
      // With 0 the finish takes over when it is cheap.
      tolerance: exact ? 0 : checkTolerance(options.tolerance),
      maxIterations: plain ? checkIterations(options.iterations, 'iterations') : checkIterations(options.maxIterations, 'maxIterations'),
      hasWeightsX: weightsX !== undefined,
      hasWeightsY: weightsY !== undefined,
      hasInit: options.init !== undefined,
      detailed: false,
    },
  };
}

/** @internal y with the pixels outside the mask put back. */
export function restore(y: Tensor, x: Tensor, valid: Tensor | undefined): Tensor {
  return valid === undefined ? y : select(valid, y, x);
}

function checkInit(init: Tensor, x: Tensor): Tensor {
  const shape = dualShape(x.shape);
  if (checkTensor(init, 'init').dtype !== x.dtype || !sameShape(init.shape, shape)) {
    throw new RangeError(
      `Expected a ${x.dtype} tensor of shape ${formatShape(shape)} for init but received ${init.dtype} ${formatShape(init.shape)}`,
    );
  }
  return init;
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
    const { inputs, params, valid } = prepare2d(x, lambda, options);
    const gradient = options.gradient ?? (options.iterations === undefined ? 'implicit' : 'unrolled');
    if (gradient !== 'implicit' && gradient !== 'unrolled') {
      throw new TypeError(`Expected 'implicit' or 'unrolled' for gradient but received ${String(gradient)}`);
    }
    if (gradient === 'unrolled' && options.iterations === undefined)
      throw new TypeError("Expected iterations with gradient 'unrolled' but received none");
    if (gradient === 'implicit' && options.iterations !== undefined)
      throw new TypeError("Expected a tolerance with gradient 'implicit' but received iterations");
    const through = gradient === 'unrolled' && inputs.some((input) => input instanceof Tracer);
    const y = through ? unrolled(inputs, params) : (bind(prox2dPrimitive, inputs, params)[0] as Tensor);
    return restore(y, x, valid);
  });
}

/**
 * `prox2d` with its certificate: the duality gap P(y) - D(u) with a feasible dual u bounds the distance of the objective from its
 * minimum, and sqrt(2 gap) that of y from the solution. One entry per image, in the order of the leading axes. Pixels outside a mask do
 * not count. Only y has a derivative.
 */
export function solve2d(x: Tensor, lambda: Operand, options: Prox2dOptions = {}): Solution2d {
  return tidy(() => {
    const { inputs, params, valid } = prepare2d(x, lambda, options);
    const [y, report, dual] = bind(prox2dPrimitive, inputs, { ...params, detailed: true }) as [Tensor, Tensor, Tensor];
    return { y: restore(y, x, valid), dual, ...readReports(report) };
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
