/** Batch and layer normalisation. */
import { underlying } from '../autodiff/index.js';
import { add, batchNorm, channelAffine, div, layerNorm, mul, sqrt } from '../ops/index.js';
import { full, outsideScopes, type Tensor, tidy } from '../tensor/index.js';
import { checkCount } from './conv.js';
import { Buffer, constantParameter, Module, type Parameter } from './module.js';

export interface BatchNormOptions {
  channels: number;
  /** Added to the variance. Default 1e-5. */
  epsilon?: number;
  /** Weight of the newest batch in the running statistics. Default 0.1. */
  momentum?: number;
}

/**
 * Ioffe and Szegedy 2015: per channel, (x - mean) / sqrt(variance + epsilon) · weight + bias, with the batch's statistics in training and
 * the running ones otherwise. The running variance is the unbiased one.
 */
abstract class BatchNorm extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter;
  readonly runningMean: Buffer;
  readonly runningVariance: Buffer;
  readonly #epsilon: number;
  readonly #momentum: number;

  constructor(
    options: BatchNormOptions,
    private readonly ranks: readonly number[],
  ) {
    super();
    const channels = checkCount(options.channels, 'channels');
    this.#epsilon = options.epsilon ?? 1e-5;
    this.#momentum = options.momentum ?? 0.1;
    this.weight = constantParameter([channels], 1);
    this.bias = constantParameter([channels], 0);
    this.runningMean = new Buffer(outsideScopes(() => full([channels], 0)));
    this.runningVariance = new Buffer(outsideScopes(() => full([channels], 1)));
  }

  override forward(x: Tensor): Tensor {
    return this.#apply(x, false);
  }

  /** relu(forward(x)) in one pass. */
  forwardRelu(x: Tensor): Tensor {
    return this.#apply(x, true);
  }

  #apply(x: Tensor, rectified: boolean): Tensor {
    if (!this.ranks.includes(x.rank) || x.shape[1] !== this.weight.value.shape[0]) {
      throw new RangeError(
        `Expected a tensor with ${this.weight.value.shape[0]} channels for x but received shape [${x.shape.join(', ')}]`,
      );
    }
    return tidy(() => {
      const [weight, bias] = [this.weight.value, this.bias.value];
      if (this.training) {
        const { y, mean, variance } = batchNorm(x, weight, bias, { epsilon: this.#epsilon, relu: rectified });
        this.#record(mean, variance, x.size / (x.shape[1] as number));
        return y;
      }
      const scale = div(weight, sqrt(add(this.runningVariance.value, this.#epsilon)));
      return channelAffine(x, this.runningMean.value, scale, bias, { relu: rectified });
    });
  }

  /** Statistics carry no derivative. */
  #record(batchMean: Tensor, variance: Tensor, count: number): void {
    const [m, v] = [underlying(batchMean), underlying(variance)];
    if (m === null || v === null) return;
    const blend = (slot: Buffer, batch: Tensor): void =>
      slot.value.assign(add(mul(slot.value, 1 - this.#momentum), mul(batch, this.#momentum)));
    blend(this.runningMean, m);
    blend(this.runningVariance, count > 1 ? mul(v, count / (count - 1)) : v);
  }
}

/** x: [n, channels, h, w] */
export class BatchNorm2d extends BatchNorm {
  constructor(options: BatchNormOptions) {
    super(options, [4]);
  }
}

/** x: [n, channels] or [n, channels, length] */
export class BatchNorm1d extends BatchNorm {
  constructor(options: BatchNormOptions) {
    super(options, [2, 3]);
  }
}

/** Ba, Kiros and Hinton 2016: normalises the last axes, whose extents are `shape`. */
export class LayerNorm extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter;
  readonly #epsilon: number;

  constructor({ shape, epsilon = 1e-5 }: { shape: readonly number[]; epsilon?: number }) {
    super();
    for (const n of shape) checkCount(n, 'shape');
    this.weight = constantParameter(shape, 1);
    this.bias = constantParameter(shape, 0);
    this.#epsilon = epsilon;
  }

  override forward(x: Tensor): Tensor {
    return layerNorm(x, this.weight.value, this.bias.value, { epsilon: this.#epsilon });
  }
}
