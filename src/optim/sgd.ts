import { kernels } from '../backend/index.js';
import type { Tensor } from '../tensor/index.js';
import { checkRange, Optimizer, type OptimizerOptions, type Trainable, type UpdateSetting } from './optimizer.js';

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

  protected override writeRates(into: Float64Array, _address: number, { learningRate }: { learningRate: number }): void {
    const first = this.steps === 1;
    into.set([learningRate, first ? 1 : 1 - this.#dampening, first ? 0 : this.#momentum]);
  }

  protected override update(name: string, value: Tensor, gradient: Tensor, { dtype, learningRate, decay, rates }: UpdateSetting): void {
    const velocity = this.#velocity.get(name)?.address ?? 0;
    const nesterov = this.#nesterov ? 1 : 0;
    if (rates !== 0) {
      kernels.sgdAt(dtype, value.size, value.address, gradient.address, velocity, rates, this.#momentum, decay, nesterov);
      return;
    }
    kernels.sgd(
      dtype,
      value.size,
      value.address,
      gradient.address,
      velocity,
      learningRate,
      this.#momentum,
      this.#dampening,
      decay,
      nesterov,
      this.steps === 1 ? 1 : 0,
    );
  }
}
