/** Convolution layers. */
import { add, type ConvOptions, conv2d, reshape } from '../ops/index.js';
import { type Tensor, tidy } from '../tensor/index.js';
import { kaimingUniform } from './init.js';
import { constantParameter, Module, type Parameter, parameter } from './module.js';

export interface Conv2dOptions extends ConvOptions {
  inChannels: number;
  outChannels: number;
  kernelSize: number | readonly [number, number];
  bias?: boolean;
  /** The initial weights, from their shape; default: uniform ±1 / sqrt(fan_in). */
  init?: (shape: readonly number[]) => Tensor;
}

/** @throws RangeError unless the value is an integer >= 1 */
export function checkCount(value: number, name: string): number {
  if (!Number.isInteger(value) || value < 1) throw new RangeError(`Expected an integer >= 1 for ${name} but received ${String(value)}`);
  return value;
}

/** y = x ⋆ weight + bias; x: [n, inChannels, h, w]. Default padding: 0. */
export class Conv2d extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter | null;
  readonly #options: ConvOptions;

  constructor(options: Conv2dOptions) {
    super();
    const { inChannels, outChannels, kernelSize, bias = true, init, ...conv } = options;
    const groups = conv.groups ?? 1;
    const kernel = typeof kernelSize === 'number' ? [kernelSize, kernelSize] : kernelSize;
    checkCount(inChannels, 'inChannels');
    checkCount(outChannels, 'outChannels');
    for (const k of kernel) checkCount(k, 'kernelSize');
    if (inChannels % groups !== 0 || outChannels % groups !== 0)
      throw new RangeError(`Expected groups that divide ${inChannels} and ${outChannels} but received ${groups}`);
    const shape = [outChannels, inChannels / groups, ...kernel];
    this.weight = parameter(() => (init ?? ((s) => kaimingUniform(s, { a: Math.sqrt(5) })))(shape));
    this.bias = bias ? constantParameter([outChannels], 0) : null;
    this.#options = conv;
  }

  override forward(x: Tensor): Tensor {
    return tidy(() => {
      const y = conv2d(x, this.weight.value, this.#options);
      return this.bias === null ? y : add(y, reshape(this.bias.value, [1, -1, 1, 1]));
    });
  }
}
