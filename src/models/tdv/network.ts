/** The variational network: S steps of the scheme with a learned regulariser, stopping time T and data weight λ. */
import { checkpoint } from '../../autodiff/index.js';
import { constantParameter, Module, type Parameter } from '../../nn/index.js';
import { mul } from '../../ops/index.js';
import { formatShape, sameShape, type Tensor, tidy } from '../../tensor/index.js';
import { type RegularizerOptions, TotalDeepVariation } from './regularizer.js';
import { type DataTerm, operatorOf, type StepSizes, schemeStep } from './scheme.js';
import type { Weights } from './weights.js';

export interface NetworkOptions extends RegularizerOptions {
  /** Steps S of the scheme. Default 10. */
  steps?: number;
  /** 'released': λ is learned beside T, the data term weighs λ/S in each step. 'paper': it weighs T/S. Default 'released'. */
  scheme?: 'released' | 'paper';
  /** Standard deviation of the noise that the network is for, for values 0 … 1. Default 25 / 255. */
  sigma?: number;
  /** 1 (default): the network denoises. 2, 3, …: it enlarges images by this factor (super-resolution). */
  scale?: number;
}

export interface RunOptions extends DataTerm {
  /** x_0, in the shape of the images. Default: Aᵀz. */
  initial?: Tensor;
  /** How many steps of T/S to make; more than S go beyond the stopping time. Default S. */
  steps?: number;
  /** Another noise level, for values 0 … 1: the network runs on data scaled by its own level over this one. */
  sigma?: number;
  /** Keep only the states for the backward pass and compute the steps again there. Default true. */
  checkpoint?: boolean;
}

/** What starts the learning (specification §3). */
const INITIAL = { T: 0.001, lambda: 0.01 };
/** Super-resolution sees next to no noise: the data weigh much from the start. */
export const INITIAL_SR_WEIGHT = 300;

/** x_0 → x_S. `forward(z)` denoises; `states` gives the whole trajectory, for any linear operator. */
export class VariationalNetwork extends Module {
  readonly R: TotalDeepVariation;
  /** The stopping time, a number >= 0. */
  readonly T: Parameter;
  /** The weight of the data term, a number >= 0; null in the paper's scheme. (The published weights spell it so.) */
  readonly lmbda: Parameter | null;
  readonly options: Required<NetworkOptions>;

  constructor(options: NetworkOptions = {}) {
    super();
    const { steps = 10, scheme = 'released', sigma = 25 / 255, scale = 1 } = options;
    if (!Number.isInteger(steps) || steps < 1) throw new RangeError(`Expected an integer >= 1 for steps but received ${String(steps)}`);
    if (scheme !== 'released' && scheme !== 'paper')
      throw new TypeError(`Expected 'released' or 'paper' for scheme but received ${String(scheme)}`);
    checkSigma(sigma);
    if (!Number.isInteger(scale) || scale < 1) throw new RangeError(`Expected an integer >= 1 for scale but received ${String(scale)}`);
    this.R = new TotalDeepVariation(options);
    this.T = constantParameter([], INITIAL.T);
    this.lmbda = scheme === 'paper' ? null : constantParameter([], scale === 1 ? INITIAL.lambda : INITIAL_SR_WEIGHT);
    this.options = { ...this.R.options, steps, scheme, sigma, scale };
  }

  /** a = T/S and τ = λ/S or T/S. */
  stepSizes(): StepSizes {
    const a = mul(this.T.value, 1 / this.options.steps);
    return { a, tau: this.lmbda === null ? a : mul(this.lmbda.value, 1 / this.options.steps) };
  }

  /** The denoised images, x_S of x_0 = z: [n, channels, h, w]. */
  override forward(z: Tensor): Tensor {
    return this.run(z);
  }

  /** x_S. */
  run(z: Tensor, options: RunOptions = {}): Tensor {
    return tidy(() => {
      const states = this.#trajectory(z, options, false);
      return states[states.length - 1] as Tensor;
    });
  }

  /** x_0, …, x_S. */
  states(z: Tensor, options: RunOptions = {}): Tensor[] {
    return tidy(() => this.#trajectory(z, options, true));
  }

  #trajectory(z: Tensor, options: RunOptions, all: boolean): Tensor[] {
    const { steps = this.options.steps, sigma = this.options.sigma, checkpoint: recompute = true } = options;
    if (!Number.isInteger(steps) || steps < 0) throw new RangeError(`Expected an integer >= 0 for steps but received ${String(steps)}`);
    const scale = this.options.sigma / checkSigma(sigma);
    const scaled = (x: Tensor): Tensor => (scale === 1 ? x : mul(x, scale));
    const unscaled = (x: Tensor): Tensor => (scale === 1 ? x : mul(x, 1 / scale));
    const b = scaled(operatorOf(options).adjoint(z));
    const { initial } = options;
    if (initial !== undefined && !sameShape(initial.shape, b.shape)) {
      throw new RangeError(`Expected images of shape ${formatShape(b.shape)} for initial but received ${formatShape(initial.shape)}`);
    }
    const { nu } = this.options;
    const step = (weights: Weights, sizes: StepSizes, x: Tensor, back: Tensor): Tensor => schemeStep(weights, sizes, x, back, nu, options);
    const advance = recompute ? checkpoint(step) : step;
    const [weights, sizes] = [this.R.weights, this.stepSizes()];
    let x = initial === undefined ? b : scaled(initial);
    const states = [unscaled(x)];
    for (let s = 0; s < steps; s++) {
      const next = advance(weights, sizes, x, b);
      // Without a derivative to compute, a state that nobody asked for can go at once.
      if (!all && s > 0) x.dispose();
      x = next;
      if (all || s === steps - 1) states.push(unscaled(x));
    }
    return states;
  }
}

/**
 * Takes over what another network has learned: the regulariser and the stopping time, and λ where both do the same task.
 * @throws RangeError when the regularisers differ in shape
 */
export function startFrom(network: VariationalNetwork, first: VariationalNetwork): void {
  network.R.loadStateDict(first.R.stateDict());
  network.T.value.assign(first.T.value);
  if (network.lmbda !== null && first.lmbda !== null && network.options.scale === first.options.scale)
    network.lmbda.value.assign(first.lmbda.value);
}

/** @throws RangeError unless it is a finite number > 0 */
export function checkSigma(sigma: number): number {
  if (!(sigma > 0 && sigma < Number.POSITIVE_INFINITY))
    throw new RangeError(`Expected a finite number > 0 for sigma but received ${String(sigma)}`);
  return sigma;
}
