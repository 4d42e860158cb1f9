/** The parts of the regulariser as modules. Their property names are those of the published weights (specification §13). */
import { Module, type Parameter, parameter } from '../../nn/index.js';
import { conv2d, convReplicate2d } from '../../ops/index.js';
import { defaultGenerator, type Tensor, tidy } from '../../tensor/index.js';
import { down, macroBlock, microBlock } from './energy.js';
import { type MacroWeights, MICRO_BLOCKS, type MicroWeights } from './weights.js';

/** Normal with variance 1 / fan-in (specification §3). */
function normalInit(shape: readonly number[]): Tensor {
  return defaultGenerator.normal(shape, { std: 1 / Math.sqrt(shape.slice(1).reduce((a, b) => a * b, 1)) });
}

/** A 3×3 convolution without bias, of images extended by their border pixels. */
export class Kernel extends Module {
  readonly weight: Parameter;

  constructor(shape: readonly number[], init: (shape: readonly number[]) => Tensor = normalInit) {
    super();
    this.weight = parameter(() => tidy(() => init(shape)));
  }

  override forward(x: Tensor): Tensor {
    return convReplicate2d(x, this.weight.value);
  }
}

/** The kernel of a change of scale, blurred when it is used. `forward` goes down; as part of `conv_up` its adjoint is used. */
export class ScaleKernel extends Kernel {
  override forward(x: Tensor): Tensor {
    return down(x, this.weight.value);
  }
}

/** A 1×1 convolution without bias. */
export class PointKernel extends Kernel {
  override forward(x: Tensor): Tensor {
    return conv2d(x, this.weight.value);
  }
}

/** x + K2 φ(K1 x) */
export class MicroBlock extends Module {
  readonly conv1: Kernel;
  readonly conv2: Kernel;
  readonly #nu: number;

  constructor(features: number, nu: number) {
    super();
    this.conv1 = new Kernel([features, features, 3, 3]);
    this.conv2 = new Kernel([features, features, 3, 3]);
    this.#nu = nu;
  }

  get weights(): MicroWeights {
    return { K1: this.conv1.weight.value, K2: this.conv2.weight.value };
  }

  override forward(x: Tensor): Tensor {
    return microBlock(x, this.weights, this.#nu);
  }
}

/** A U-Net of three scales with five micro-blocks. `forward` is that of a first block, which has no coarser features yet. */
export class MacroBlock extends Module {
  readonly mb: MicroBlock[][];
  readonly conv_down: ScaleKernel[];
  readonly conv_up: ScaleKernel[];
  readonly #nu: number;

  constructor(features: number, nu: number) {
    super();
    const scales = (): ScaleKernel[] => MICRO_BLOCKS.slice(1).map(() => new ScaleKernel([features, features, 3, 3]));
    this.mb = MICRO_BLOCKS.map((count) => Array.from({ length: count }, () => new MicroBlock(features, nu)));
    this.conv_down = scales();
    this.conv_up = scales();
    this.#nu = nu;
  }

  get weights(): MacroWeights {
    return {
      micro: this.mb.map((blocks) => blocks.map((block) => block.weights)),
      down: this.conv_down.map((kernel) => kernel.weight.value),
      up: this.conv_up.map((kernel) => kernel.weight.value),
    };
  }

  override forward(x: Tensor): Tensor {
    return tidy(() => macroBlock([x, null, null], this.weights, this.#nu)[0]);
  }
}
