import { type Address, kernels } from '../backend/index.js';
import type { Tensor } from '../tensor/index.js';
import { checkRange, Optimizer, type OptimizerOptions, type Rates, type Trainable } from './optimizer.js';

export interface SGDOptions extends OptimizerOptions {
  /** Default 0. */
  momentum?: number;
  /** Default 0. */
  dampening?: number;
  /** Default false. */
  nesterov?: boolean;
}

/**
 * Stochastic gradient descent: v <- momentum v + (1 - dampening) g, w <- w - lr v (Nesterov: w <- w - lr (g + momentum v)). Learning rate
 * 1e-2 unless given; weight decay (default 0) is added to the gradient.
 */
export class SGD extends Optimizer {
  readonly #velocity: Map<string, Tensor>;
  readonly #momentum: number;
  readonly #dampening: number;
  readonly #nesterov: boolean;

  constructor(parameters: ReadonlyMap<string, Trainable>, options: SGDOptions = {}) {
    super(parameters, options, { learningRate: 1e-2, weightDecay: 0 });
    this.#momentum = checkRange(options.momentum ?? 0, 0, 1, 'momentum');
    this.#dampening = checkRange(options.dampening ?? 0, 0, 1, 'dampening');
    this.#nesterov = options.nesterov ?? false;
    if (this.#nesterov && this.#momentum === 0) throw new RangeError('Expected momentum > 0 with nesterov but received 0');
    this.#velocity = this.#momentum > 0 ? this.zeroSlot() : new Map();
  }

  protected override slots(): Map<string, Map<string, Tensor>> {
    return new Map([['velocity', this.#velocity]]);
  }

  protected override rates(learningRate: number, decay: number): Rates {
    const first = this.steps === 1;
    return [learningRate, first ? 1 : 1 - this.#dampening, first ? 0 : this.#momentum, decay];
  }

  protected override update(parts: kernels.Parts, rates: Address, factor: Address): void {
    kernels.sgd(parts, rates, this.#momentum, this.#nesterov ? 1 : 0, factor);
  }
}
