import { type Address, kernels } from '../backend/index.js';
import type { Tensor } from '../tensor/index.js';
import { checkRange, Optimizer, type OptimizerOptions, type Trainable, type UpdateSetting } from './optimizer.js';

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

  protected override writeRates(_into: Float64Array, address: Address, setting: { learningRate: number; decay: number }): void {
    const [beta1, beta2] = this.#betas;
    kernels.adamRates(setting.learningRate, beta1, beta2, setting.decay, this.decoupled ? 1 : 0, this.steps, address);
  }

  protected override update(name: string, value: Tensor, gradient: Tensor, { dtype, learningRate, decay, rates }: UpdateSetting): void {
    const [m, v] = [this.#m.get(name) as Tensor, this.#v.get(name) as Tensor];
    const [beta1, beta2] = this.#betas;
    if (rates !== 0) {
      const penalty = this.decoupled ? 0 : decay;
      const moments = [m.address, v.address] as const;
      kernels.adamAt(dtype, value.size, value.address, gradient.address, ...moments, rates, beta1, beta2, this.#epsilon, penalty);
      return;
    }
    kernels.adam(
      dtype,
      value.size,
      value.address,
      gradient.address,
      m.address,
      v.address,
      learningRate,
      beta1,
      beta2,
      this.#epsilon,
      decay,
      this.decoupled ? 1 : 0,
      this.steps,
    );
  }
}

/** Loshchilov and Hutter 2019: weight decay (default 0.01) acts on the weights, not on the gradient. */
export class AdamW extends Adam {
  protected override readonly decoupled: boolean = true;

  constructor(parameters: ReadonlyMap<string, Trainable>, options: AdamOptions = {}) {
    super(parameters, { weightDecay: 0.01, ...options });
  }
}
