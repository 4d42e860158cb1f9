/** Activations, fixed and trainable. */
import { add, div, maximum, mul, relu, reshape, sigmoid, softplus, sqrt, square, tanh } from '../ops/index.js';
import { full, type Tensor, tidy } from '../tensor/index.js';
import { checkCount } from './conv.js';
import { Module, type Parameter, parameter } from './module.js';

/** A module without parameters around a function. */
export class Lambda extends Module {
  constructor(private readonly f: (x: Tensor) => Tensor) {
    super();
  }

  override forward(x: Tensor): Tensor {
    return tidy(() => this.f(x));
  }
}

/** max(x, 0) */
export class ReLU extends Lambda {
  constructor() {
    super(relu);
  }
}

/** x where x > 0, else slope · x. */
export class LeakyReLU extends Lambda {
  constructor({ slope = 0.01 }: { slope?: number } = {}) {
    if (!(slope >= 0 && slope <= 1)) throw new RangeError(`Expected a number in [0, 1] for slope but received ${String(slope)}`);
    super((x) => maximum(x, mul(x, slope)));
  }
}

/** log(1 + e^x) */
export class Softplus extends Lambda {
  constructor() {
    super(softplus);
  }
}

export class Tanh extends Lambda {
  constructor() {
    super(tanh);
  }
}

export class Sigmoid extends Lambda {
  constructor() {
    super(sigmoid);
  }
}

export interface FluxOptions {
  channels: number;
  /** Initial contrast parameter κ > 0, in the units of the data. Default 1. */
  contrast?: number;
  /** Default true. */
  trainable?: boolean;
  /** One κ for all channels. Default false. */
  shared?: boolean;
}

/** A diffusion flux Φ(x) with one positive contrast parameter κ = softplus(κ̃) per channel. */
abstract class Flux extends Module {
  readonly rawContrast: Parameter;

  constructor({ channels, contrast = 1, trainable = true, shared = false }: FluxOptions) {
    super();
    checkCount(channels, 'channels');
    if (!(contrast > 0) || !Number.isFinite(contrast))
      throw new RangeError(`Expected a finite number > 0 for contrast but received ${String(contrast)}`);
    const raw = contrast > 30 ? contrast : Math.log(Math.expm1(contrast));
    this.rawContrast = parameter(() => full([shared ? 1 : channels], raw), { trainable });
  }

  /** The contrast parameters: [channels], or [1] when shared. */
  contrast(): Tensor {
    return softplus(this.rawContrast.value);
  }

  protected abstract flux(x: Tensor, squaredRatio: Tensor): Tensor;

  /** x: [n, channels, ...] */
  override forward(x: Tensor): Tensor {
    const channels = this.rawContrast.value.shape[0] as number;
    if (x.rank < 2 || (channels > 1 && x.shape[1] !== channels)) {
      throw new RangeError(`Expected a tensor with ${channels} channels for x but received shape [${x.shape.join(', ')}]`);
    }
    return tidy(() => {
      const contrast = reshape(this.contrast(), [1, -1, ...new Array<number>(Math.max(0, x.rank - 2)).fill(1)]);
      return this.flux(x, square(div(x, contrast)));
    });
  }
}

/** Φ(x) = x / (1 + x² / κ²) (Perona and Malik 1990). */
export class PeronaMalik extends Flux {
  protected override flux(x: Tensor, squaredRatio: Tensor): Tensor {
    return div(x, add(squaredRatio, 1));
  }
}

/** Φ(x) = x / sqrt(1 + x² / κ²) (Charbonnier et al. 1997). */
export class Charbonnier extends Flux {
  protected override flux(x: Tensor, squaredRatio: Tensor): Tensor {
    return div(x, sqrt(add(squaredRatio, 1)));
  }
}
