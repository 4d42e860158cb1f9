/** Residual denoisers with total-variation layers (Yeh et al. 2022, eq. (13) and (14)). */
import { Conv2d, init, Module, ReLU, Sequential, TVLayer2d } from '../../nn/index.js';
import { add } from '../../ops/index.js';
import { formatShape, type Tensor, tidy } from '../../tensor/index.js';

export interface DnCNNOptions {
  /** Image channels: 1 gray, 3 colour. Default 1. */
  channels?: number;
  /** Channels inside. Default 64. */
  features?: number;
  /** Convolution layers, >= 2. Default 17. */
  depth?: number;
}

/** DnCNN without batch norm (Zhang et al. 2017, as KAIR trains it): I + R(I), R of `depth` 3×3 convolutions with ReLUs between. */
export class DnCNN extends Module {
  readonly body: Sequential;
  readonly options: Required<DnCNNOptions>;

  constructor(options: DnCNNOptions = {}) {
    super();
    const { channels = 1, features = 64, depth = 17 } = options;
    if (!Number.isInteger(depth) || depth < 2) throw new RangeError(`Expected an integer >= 2 for depth but received ${String(depth)}`);
    this.options = { channels, features, depth };
    const conv = (inChannels: number, outChannels: number, gain: number): Conv2d =>
      new Conv2d({ inChannels, outChannels, kernelSize: 3, padding: 'same', init: (shape) => init.kaimingNormal(shape, { gain }) });
    const layers: Module[] = [conv(channels, features, Math.SQRT2), new ReLU()];
    for (let i = 2; i < depth; i++) layers.push(conv(features, features, Math.SQRT2), new ReLU());
    // A small last layer: training starts near the identity.
    layers.push(conv(features, channels, 0.1));
    this.body = new Sequential(...layers);
  }

  /** x: [n, channels, h, w], values 0 … 1. */
  override forward(x: Tensor): Tensor {
    checkImages(x, this.options.channels);
    return tidy(() => add(this.body.forward(x), x));
  }
}

export interface DnCNNTVOptions extends DnCNNOptions {
  /** Initial lambdas of the two TV layers, for values 0 … 1. Default 0.01 and 0.005. */
  lambdaIn?: number;
  lambdaOut?: number;
  /** Dykstra sweeps of the TV layers with unrolled gradient (the paper: 4); default: solved to a gap of 1e-6, implicit gradient. */
  iterations?: number | undefined;
}

/** DnCNN_TV(I) = prox(R(Ĩ) + Ĩ, λ_out), Ĩ = prox(I, λ_in) (eq. (14)). */
export class DnCNNTV extends Module {
  readonly input: TVLayer2d;
  readonly network: DnCNN;
  readonly output: TVLayer2d;
  readonly options: Required<DnCNNOptions> & { lambdaIn: number; lambdaOut: number; iterations: number | undefined };

  constructor(options: DnCNNTVOptions = {}) {
    super();
    const { lambdaIn = 0.01, lambdaOut = 0.005, iterations } = options;
    this.network = new DnCNN(options);
    this.options = { ...this.network.options, lambdaIn, lambdaOut, iterations };
    const layer = (init: number): TVLayer2d =>
      new TVLayer2d({ channels: this.options.channels, lambda: { init, shared: true }, ...(iterations !== undefined && { iterations }) });
    this.input = layer(lambdaIn);
    this.output = layer(lambdaOut);
  }

  /** x: [n, channels, h, w], values 0 … 1. */
  override forward(x: Tensor): Tensor {
    checkImages(x, this.options.channels);
    return tidy(() => this.output.forward(this.network.forward(this.input.forward(x))));
  }
}

function checkImages(x: Tensor, channels: number): void {
  if (x.rank !== 4 || x.shape[1] !== channels)
    throw new RangeError(`Expected images [n, ${channels}, height, width] for x but received shape ${formatShape(x.shape)}`);
}
