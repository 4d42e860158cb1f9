import { type Address, kernels } from '../backend/index.js';
import type { Tensor } from '../tensor/index.js';
import { checkRange, Optimizer, type OptimizerOptions, type Rates, type Trainable } from './optimizer.js';

export interface AdamOptions extends OptimizerOptions {
  /** Decay of the first and second moments. Default [0.9, 0.999]. */
  betas?: readonly [number, number];
  /** Default 1e-8. */
  epsilon?: number;
}

/** Kingma and Ba 2015. Learning rate 1e-3 unless given; weight decay (default 0) is added to the gradient. */
export class Adam extends Optimizer {
  protected readonly decoupled: boolean = false;
  readonly #m: Map<string, Tensor>;
  readonly #v: Map<string, Tensor>;
  readonly #betas: readonly [number, number];
  readonly #epsilon: number;

  constructor(parameters: ReadonlyMap<string, Trainable>, options: AdamOptions = {}) {
    super(parameters, options, { learningRate: 1e-3, weightDecay: 0 });
    const [beta1, beta2] = options.betas ?? [0.9, 0.999];
    this.#betas = [checkRange(beta1, 0, 1, 'betas[0]'), checkRange(beta2, 0, 1, 'betas[1]')];
    this.#epsilon = checkRange(options.epsilon ?? 1e-8, 0, Number.POSITIVE_INFINITY, 'epsilon');
    this.#m = this.zeroSlot();
    this.#v = this.zeroSlot();
  }

  protected override slots(): Map<string, Map<string, Tensor>> {
    return new Map([
      ['m', this.#m],
      ['v', this.#v],
    ]);
  }

  protected override rates(learningRate: number, decay: number): Rates {
    const [beta1, beta2] = this.#betas;
    const rate = learningRate / (1 - beta1 ** this.steps);
    const root = 1 / Math.sqrt(1 - beta2 ** this.steps);
    return this.decoupled ? [rate, root, 1 - learningRate * decay, 0] : [rate, root, 1, decay];
  }

  protected override update(parts: kernels.Parts, rates: Address, factor: Address): void {
    const [beta1, beta2] = this.#betas;
    kernels.adam(parts, rates, beta1, beta2, this.#epsilon, factor);
  }
}

/** Loshchilov and Hutter 2019: weight decay (default 0.01) acts on the weights, not on the gradient. */
export class AdamW extends Adam {
  protected override readonly decoupled: boolean = true;

  constructor(parameters: ReadonlyMap<string, Trainable>, options: AdamOptions = {}) {
    super(parameters, { weightDecay: 0.01, ...options });
  }
}
