/** What a user may ask of the total-variation flow, and the checks of it. */
import { max, min, sub } from '../ops/index.js';
import { type Tensor, tidy } from '../tensor/index.js';
import type { FlowStep } from './flow-march.js';
import { anisotropicSolver, chambolleSolver, type Geometry, laggedSolver, lineSolver, rofSolver, type StepSolver } from './flow-solvers.js';
import { checkIterations, checkTolerance } from './prox2d.js';

/** λ over the length of a step, in ½|v - u|² + λ J(v). */
export const CONVENTIONS = { pde: 1, paper6: 0.5, gilboa: 2 } as const;

export interface FlowOptions {
  /** The times to return, increasing and >= 0. Without `step` the steps in between are chosen by `accuracy`. */
  times?: readonly number[];
  /** Instead of `times`: 0, step, 2 step, … up to here, with steps of exactly `step`. */
  endTime?: number;
  /** With `times`: the longest step; each stretch between two times is cut into equal ones. */
  step?: number;
  /**
   * Without `step`: the root mean square over the pixels of u(t) minus the flow stays below this share of the image's range (max - min), by the
   * certified bound of `errorBound`. Default 1e-3. (On natural images the error itself is about a tenth of it.)
   */
  accuracy?: number;
  /**
   * Relative duality gap of each step, in (0, 1). Default 1e-6 for given steps, what `accuracy` needs for chosen ones (where it is an upper limit);
   * with isotropic false: exact.
   */
  tolerance?: number;
  /** Limit on the iterations of one step. Default 10000. */
  maxIterations?: number;
  /** sqrt(dx² + dy²) (default) or |dx| + |dy| for the pixels' variation. */
  isotropic?: boolean;
  /** 'independent' (default): every leading index is an image. 'coupled': the axis before the image holds channels that share the norm. */
  channels?: 'independent' | 'coupled';
  /**
   * What a step solves. 'implicit' (default): argmin_v ½|v - u|² + λ J(v), to its gap. 'chambolle': the same by a fixed number of Chambolle's
   * projections (for comparison). 'lagged': lagged diffusivity, one linear system with the smoothed weights of the last u; biased by
   * `epsilon`, without a bound. The last two need `step`, isotropic variation and independent channels.
   */
  method?: 'implicit' | 'chambolle' | 'lagged';
  /**
   * What a step of length dt solves. 'pde' (default): λ = dt, which follows u_t = div φ. 'paper6': |v - u|² + dt J(v) as printed in Grossmann
   * et al., eq. (6), λ = dt / 2: time runs at half speed. 'gilboa': λ = 2 dt, as in the published spectral TV code: at double speed.
   */
  timeConvention?: keyof typeof CONVENTIONS;
  /** 'chambolle': projections per step (default 500), their length (default 0.2; at most 0.25), and whether a step starts from the last dual (default true). */
  iterations?: number;
  tau?: number;
  warmStart?: boolean;
  /** 'lagged': the ε of |Du| + ε, in the data's units. Default 1e-3. Relative residual of the linear systems is `tolerance`, steps `maxIterations`. */
  epsilon?: number;
  /** Also return φ at every time. Default false. */
  dual?: boolean;
  /** Sees every step, and ends the flow by returning false. It must not keep u. */
  onStep?: (step: FlowStep & { u: Tensor }) => unknown;
}

const DEFAULT_ACCURACY = 1e-3;
const MOST_STEPS = 1e7;

export function checkChoice<T extends string>(value: T, choices: readonly T[], name: string): T {
  if (choices.includes(value)) return value;
  const quoted = choices.map((choice) => `'${choice}'`);
  throw new TypeError(`Expected ${quoted.slice(0, -1).join(', ')} or ${quoted.at(-1)} for ${name} but received ${String(value)}`);
}

export function checkBoolean(value: boolean, name: string): boolean {
  if (typeof value !== 'boolean') throw new TypeError(`Expected a boolean for ${name} but received ${String(value)}`);
  return value;
}

export function checkPositive(value: number, name: string): number {
  if (!(value > 0 && value < Number.POSITIVE_INFINITY))
    throw new RangeError(`Expected a number > 0 for ${name} but received ${String(value)}`);
  return value;
}

/** The times to return, increasing from 0 or later, and the longest step (undefined: chosen by accuracy). */
export function schedule({ times, endTime, step, accuracy }: FlowOptions): { times: number[]; step: number | undefined } {
  if ((times === undefined) === (endTime === undefined))
    throw new TypeError(`Expected either times or endTime but received ${times === undefined ? 'neither' : 'both'}`);
  if (step !== undefined) {
    checkPositive(step, 'step');
    if (accuracy !== undefined) throw new TypeError('Expected either step or accuracy but received both');
  }
  if (accuracy !== undefined) checkPositive(accuracy, 'accuracy');
  if (endTime !== undefined) {
    if (step === undefined) throw new TypeError('Expected a step with endTime but received none');
    checkPositive(endTime, 'endTime');
    const count = Math.floor(endTime / step + 1e-9);
    if (count < 1 || count > MOST_STEPS)
      throw new RangeError(`Expected 1 to ${MOST_STEPS} steps up to endTime but received a step of ${step} for ${endTime}`);
    return { times: Array.from({ length: count + 1 }, (_, k) => k * step), step: step * (1 + 1e-9) };
  }
  const given = Array.isArray(times) || ArrayBuffer.isView(times) ? Array.from(times as ArrayLike<number>) : undefined;
  if (given === undefined || given.length === 0)
    throw new TypeError(`Expected an array of at least one number for times but received ${String(times)}`);
  given.forEach((time, k) => {
    if (!(time >= 0 && time < Number.POSITIVE_INFINITY) || (k > 0 && !(time > (given[k - 1] as number))))
      throw new RangeError(`Expected increasing numbers >= 0 for times but received ${String(time)} at ${k}`);
  });
  return { times: given, step };
}

/** The root mean square error that each image may have. */
export function allowedErrors(f: Tensor, { accuracy = DEFAULT_ACCURACY }: FlowOptions, coupled: boolean): Float64Array {
  return tidy(() => {
    const axes = coupled ? [-3, -2, -1] : [-2, -1];
    return Float64Array.from(sub(max(f, { axes }), min(f, { axes })).toTypedArray(), (range) => accuracy * range);
  });
}

/** @throws TypeError when an option belongs to another method */
function checkOwn(options: FlowOptions, names: readonly (keyof FlowOptions)[], method: string): void {
  for (const name of names)
    if (options[name] !== undefined)
      throw new TypeError(`Expected ${name} only with method '${method}' but received ${String(options[name])}`);
}

export function makeSolver(f: Tensor, options: FlowOptions, geometry: Geometry): StepSolver {
  const method = checkChoice(options.method ?? 'implicit', ['implicit', 'chambolle', 'lagged'], 'method');
  const { maxIterations, tolerance } = options;
  checkIterations(maxIterations, 'maxIterations');
  checkTolerance(tolerance);
  if (method !== 'chambolle') checkOwn(options, ['iterations', 'tau', 'warmStart'], 'chambolle');
  if (method !== 'lagged') checkOwn(options, ['epsilon'], 'lagged');
  if (method === 'implicit') {
    const [height, width] = f.shape.slice(-2) as [number, number];
    if (!geometry.coupled && (height === 1 || width === 1)) return lineSolver(f.dtype, height);
    return geometry.isotropic ? rofSolver(geometry, maxIterations) : anisotropicSolver(tolerance === undefined, maxIterations);
  }
  if (options.step === undefined) throw new TypeError(`Expected a step with method '${method}' but received none`);
  if (!geometry.isotropic || geometry.coupled)
    throw new TypeError(`Expected isotropic variation and independent channels with method '${method}' but received other options`);
  if (method === 'lagged')
    return laggedSolver({
      epsilon: checkPositive(options.epsilon ?? 1e-3, 'epsilon'),
      tolerance: checkTolerance(tolerance),
      iterations: checkIterations(maxIterations, 'maxIterations'),
    });
  const { tau = 0.2, iterations = 500, warmStart = true } = options;
  if (!(tau > 0 && tau <= 0.25)) throw new RangeError(`Expected a number in (0, 0.25] for tau but received ${String(tau)}`);
  return chambolleSolver({ iterations: checkIterations(iterations, 'iterations'), tau, warmStart: checkBoolean(warmStart, 'warmStart') });
}
