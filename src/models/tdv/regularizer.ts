/** Total deep variation as a module: the learned regulariser R of Kobler, Effland, Kunisch and Pock, CVPR 2020. */
import { grad } from '../../autodiff/index.js';
import { Module } from '../../nn/index.js';
import { div, sqrt, square, sum } from '../../ops/index.js';
import { projections } from '../../optim/index.js';
import { type Tensor, tidy } from '../../tensor/index.js';
import { Kernel, MacroBlock, PointKernel } from './blocks.js';
import { deepVariation, energy } from './energy.js';
import { energyGradient } from './gradient.js';
import type { Weights } from './weights.js';

export interface RegularizerOptions {
  /** Channels of the image: 1 gray, 3 colour. Default 1. */
  channels?: number;
  /** Feature channels m. Default 32. */
  features?: number;
  /** Macro-blocks a of TDV^a. Default 3. */
  macroBlocks?: number;
  /** ν of the activation log(1 + ν x²) / (2ν). Default 1, as in the published weights (the paper: 9). */
  nu?: number;
}

const zeroMean = projections.zeroMean();

/** K after a step of the optimiser: filters of mean zero, then in the unit ball (specification §3). */
export const projectK: (value: Tensor) => Tensor = projections.compose(zeroMean, projections.normBall(1));

/** K at the beginning: filters of mean zero on the unit sphere. */
function initialK(value: Tensor): Tensor {
  const centred = zeroMean(value);
  return div(centred, sqrt(sum(square(centred), { axes: [1, 2, 3], keepDims: true })));
}

/** R(x) = Σ r(x), r = (1/m) wᵀ N(K x). `forward` gives r, the deep variation of every pixel. */
export class TotalDeepVariation extends Module {
  readonly K1: Kernel;
  readonly mb: MacroBlock[];
  readonly KN: PointKernel;
  readonly options: Required<RegularizerOptions>;

  constructor(options: RegularizerOptions = {}) {
    super();
    const { channels = 1, features = 32, macroBlocks = 3, nu = 1 } = options;
    for (const [name, value] of Object.entries({ channels, features, macroBlocks })) {
      if (!Number.isInteger(value) || value < 1) throw new RangeError(`Expected an integer >= 1 for ${name} but received ${String(value)}`);
    }
    if (!(nu > 0 && nu < Number.POSITIVE_INFINITY)) throw new RangeError(`Expected a finite number > 0 for nu but received ${String(nu)}`);
    this.options = { channels, features, macroBlocks, nu };
    this.K1 = new Kernel([features, channels, 3, 3]);
    tidy(() => this.K1.weight.value.assign(initialK(this.K1.weight.value)));
    this.mb = Array.from({ length: macroBlocks }, () => new MacroBlock(features, nu));
    this.KN = new PointKernel([1, features, 1, 1]);
  }

  /** The weights as they are now: while they are being differentiated, what stands for them. */
  get weights(): Weights {
    return { K: this.K1.weight.value, blocks: this.mb.map((block) => block.weights), w: this.KN.weight.value };
  }

  /** r(x): [n, channels, h, w] → [n, 1, h, w]. */
  override forward(x: Tensor): Tensor {
    return deepVariation(this.weights, x, this.options.nu);
  }

  /** R of each image: [n, channels, h, w] → [n]. */
  energy(x: Tensor): Tensor {
    return energy(this.weights, x, this.options.nu);
  }

  /**
   * ∇R(x), in the shape of x. Differentiable in x and in the weights.
   * @param method 'analytic' (default): the pass by hand; 'engine': the derivative of `energy`, the same up to rounding and slower
   */
  gradient(x: Tensor, method: 'analytic' | 'engine' = 'analytic'): Tensor {
    if (method === 'engine') return tidy(() => grad((v: Tensor) => sum(this.energy(v)))(x));
    if (method !== 'analytic') throw new TypeError(`Expected 'analytic' or 'engine' for method but received ${String(method)}`);
    return energyGradient(this.weights, x, this.options.nu);
  }
}
