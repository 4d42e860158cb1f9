/** Total-variation layers (Yeh et al. 2022, eq. (3) and (4)). */
import { mul, reshape, softplus, sub } from '../ops/index.js';
import { type Tensor, tensor, tidy } from '../tensor/index.js';
import { type Prox2dOptions, prox1d, prox2d } from '../tv/index.js';
import { checkCount } from './conv.js';
import { Module, type Parameter, parameter } from './module.js';

export interface LambdaOptions {
  /** Initial lambda > 0, in the units of the data. Default: ln 2, softplus(0) as in the paper. */
  init?: number;
  /** Default true. */
  trainable?: boolean;
  /** One lambda for all channels. Default false. */
  shared?: boolean;
}

export interface TVLayerOptions {
  channels: number;
  /** 'smooth': prox(x); 'sharp': 2x - prox(x). Default 'smooth'. */
  mode?: 'smooth' | 'sharp';
  lambda?: LambdaOptions;
}

abstract class TVLayer extends Module {
  /** λ̃, with λ = softplus(λ̃): [channels], or [1] when shared. */
  readonly rawLambda: Parameter;
  readonly mode: 'smooth' | 'sharp';
  readonly channels: number;

  constructor(options: TVLayerOptions) {
    super();
    this.channels = checkCount(options.channels, 'channels');
    this.mode = options.mode ?? 'smooth';
    if (this.mode !== 'smooth' && this.mode !== 'sharp')
      throw new TypeError(`Expected 'smooth' or 'sharp' for mode but received ${String(options.mode)}`);
    const { init = Math.LN2, trainable = true, shared = false } = options.lambda ?? {};
    if (!(init > 0) || !Number.isFinite(init))
      throw new RangeError(`Expected a finite number > 0 for lambda.init but received ${String(init)}`);
    // The inverse of softplus, without overflow.
    const raw = init > 30 ? init : Math.log(Math.expm1(init));
    this.rawLambda = parameter(() => tensor(new Float32Array(shared ? 1 : this.channels).fill(raw)), { trainable });
  }

  /** The lambdas, one per channel (or one for all), by softplus. */
  lambda(): Tensor {
    return softplus(this.rawLambda.value);
  }

  protected abstract prox(x: Tensor, lambda: Tensor): Tensor;

  /** x: [n, channels, h, w] (or [channels, h, w]). */
  override forward(x: Tensor): Tensor {
    if (x.rank < 3 || x.shape[x.rank - 3] !== this.channels) {
      throw new RangeError(`Expected a tensor [..., ${this.channels}, height, width] for x but received shape [${x.shape.join(', ')}]`);
    }
    return tidy(() => {
      const lambda = this.lambda();
      const y = this.prox(x, lambda.size === 1 ? reshape(lambda, []) : lambda);
      return this.mode === 'smooth' ? y : sub(mul(x, 2), y);
    });
  }
}

/** A 1D TV layer along the rows or the columns of every channel. */
export class TVLayer1d extends TVLayer {
  readonly direction: 'row' | 'col';

  constructor(options: TVLayerOptions & { direction?: 'row' | 'col' }) {
    super(options);
    this.direction = options.direction ?? 'row';
    if (this.direction !== 'row' && this.direction !== 'col')
      throw new TypeError(`Expected 'row' or 'col' for direction but received ${String(options.direction)}`);
  }

  protected override prox(x: Tensor, lambda: Tensor): Tensor {
    return prox1d(x, lambda, { axis: this.direction === 'row' ? -1 : -2 });
  }
}

/** A 2D anisotropic TV layer on every channel. */
export class TVLayer2d extends TVLayer {
  readonly #solver: Pick<Prox2dOptions, 'tolerance' | 'exact' | 'iterations' | 'gradient'>;

  /** `tolerance` (default 1e-6) or `exact`, with the implicit gradient; or `iterations` (the paper's Dykstra sweeps, unrolled gradient). */
  constructor(options: TVLayerOptions & Pick<Prox2dOptions, 'tolerance' | 'exact' | 'iterations' | 'gradient'>) {
    super(options);
    const { tolerance, exact, iterations, gradient } = options;
    this.#solver = {
      ...(tolerance !== undefined && { tolerance }),
      ...(exact !== undefined && { exact }),
      ...(iterations !== undefined && { iterations }),
      ...(gradient !== undefined && { gradient }),
    };
  }

  protected override prox(x: Tensor, lambda: Tensor): Tensor {
    return prox2d(x, lambda, this.#solver);
  }
}
