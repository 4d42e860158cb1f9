/** Convolution and linear layers. */
import { add, type ConvOptions, conv1d, conv2d, convLayer2d, convTranspose2d, matmul, relu, reshape } from '../ops/index.js';
import { type Tensor, tidy } from '../tensor/index.js';
import { kaimingUniform } from './init.js';
import { constantParameter, Module, type Parameter, parameter } from './module.js';

/** Initial weights from their shape; default: uniform ±1 / sqrt(fan_in). */
export type Initialiser = (shape: readonly number[]) => Tensor;

const defaultInit: Initialiser = (shape) => kaimingUniform(shape, { a: Math.sqrt(5) });

interface Common {
  inChannels: number;
  outChannels: number;
  bias?: boolean;
  init?: Initialiser;
}

export interface Conv2dOptions extends ConvOptions, Common {
  kernelSize: number | readonly [number, number];
}

export interface Conv1dOptions extends ConvOptions, Common {
  kernelSize: number;
}

/** @throws RangeError unless the value is an integer >= 1 */
export function checkCount(value: number, name: string): number {
  if (!Number.isInteger(value) || value < 1) throw new RangeError(`Expected an integer >= 1 for ${name} but received ${String(value)}`);
  return value;
}

function checkChannels({ inChannels, outChannels, groups = 1 }: Common & ConvOptions, kernel: readonly number[]): void {
  checkCount(inChannels, 'inChannels');
  checkCount(outChannels, 'outChannels');
  checkCount(groups, 'groups');
  for (const k of kernel) checkCount(k, 'kernelSize');
  if (inChannels % groups !== 0 || outChannels % groups !== 0) {
    throw new RangeError(`Expected groups that divide ${inChannels} and ${outChannels} but received ${groups}`);
  }
}

abstract class ConvBase extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter | null;
  protected readonly conv: ConvOptions;

  /** @param transposed the weight's first axis is the input's channels: it is that of the convolution being transposed */
  constructor(options: Common & ConvOptions, kernel: readonly number[], transposed: boolean) {
    super();
    const { inChannels, outChannels, bias = true, init = defaultInit } = options;
    checkChannels(options, kernel);
    const groups = options.groups ?? 1;
    const [first, second] = transposed ? [inChannels, outChannels / groups] : [outChannels, inChannels / groups];
    this.weight = parameter(() => init([first, second, ...kernel]));
    this.bias = bias ? constantParameter([outChannels], 0) : null;
    const { stride, padding, dilation } = options;
    this.conv = {
      groups,
      ...(stride !== undefined && { stride }),
      ...(padding !== undefined && { padding }),
      ...(dilation !== undefined && { dilation }),
    };
  }

  protected abstract apply(x: Tensor): Tensor;

  override forward(x: Tensor): Tensor {
    return tidy(() => {
      const y = this.apply(x);
      return this.bias === null ? y : add(y, reshape(this.bias.value, [1, -1, ...new Array<number>(y.rank - 2).fill(1)]));
    });
  }
}

/** y = x ⋆ weight + bias; x: [n, inChannels, h, w]. Default padding: 0. */
export class Conv2d extends ConvBase {
  constructor(options: Conv2dOptions) {
    super(options, typeof options.kernelSize === 'number' ? [options.kernelSize, options.kernelSize] : options.kernelSize, false);
  }

  override forward(x: Tensor): Tensor {
    return this.bias === null ? super.forward(x) : convLayer2d(x, this.weight.value, this.bias.value, this.conv);
  }

  /** relu(forward(x)) in one pass. */
  forwardRelu(x: Tensor): Tensor {
    return this.bias === null
      ? tidy(() => relu(super.forward(x)))
      : convLayer2d(x, this.weight.value, this.bias.value, { ...this.conv, relu: true });
  }

  protected override apply(x: Tensor): Tensor {
    return conv2d(x, this.weight.value, this.conv);
  }
}

/** y = x ⋆ weight + bias; x: [n, inChannels, length]. */
export class Conv1d extends ConvBase {
  constructor(options: Conv1dOptions) {
    super(options, [options.kernelSize], false);
  }

  protected override apply(x: Tensor): Tensor {
    return conv1d(x, this.weight.value, this.conv);
  }
}

/** The adjoint of a convolution from outChannels to inChannels, plus bias; x: [n, inChannels, h, w]. */
export class ConvTranspose2d extends ConvBase {
  readonly #outputPadding: number | readonly number[];

  constructor(options: Conv2dOptions & { outputPadding?: number | readonly number[] }) {
    super(options, typeof options.kernelSize === 'number' ? [options.kernelSize, options.kernelSize] : options.kernelSize, true);
    this.#outputPadding = options.outputPadding ?? 0;
  }

  protected override apply(x: Tensor): Tensor {
    return convTranspose2d(x, this.weight.value, { ...this.conv, outputPadding: this.#outputPadding });
  }
}

export interface LinearOptions {
  inFeatures: number;
  outFeatures: number;
  bias?: boolean;
  init?: Initialiser;
}

/** y = x weightᵀ + bias; x: [..., inFeatures], weight: [outFeatures, inFeatures]. */
export class Linear extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter | null;

  constructor({ inFeatures, outFeatures, bias = true, init = defaultInit }: LinearOptions) {
    super();
    checkCount(inFeatures, 'inFeatures');
    checkCount(outFeatures, 'outFeatures');
    this.weight = parameter(() => init([outFeatures, inFeatures]));
    this.bias = bias ? constantParameter([outFeatures], 0) : null;
  }

  override forward(x: Tensor): Tensor {
    return tidy(() => {
      const rows = reshape(x, [-1, x.shape[x.rank - 1] as number]);
      const y = matmul(rows, this.weight.value, { transposeB: true });
      const biased = this.bias === null ? y : add(y, this.bias.value);
      return reshape(biased, [...x.shape.slice(0, -1), y.shape[1] as number]);
    });
  }
}
