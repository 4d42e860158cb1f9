/** Random tensors: Philox 4x32-10, so that a value depends on the seed and its position in the stream only. */
import { kernels, recording } from '../backend/index.js';
import { DTYPE_CODE, type FloatDType, isFloat } from './dtype.js';
import { checkShape, type Shape } from './shape.js';
import { Tensor } from './tensor.js';

/** Where a stream of random numbers stands: enough to continue it bit for bit. */
export interface RandomState {
  seed: number;
  offset: number;
}

const MAX_SEED = 2 ** 53 - 1;

function checkSeed(seed: number, name: string): number {
  if (!Number.isInteger(seed) || seed < 0 || seed > MAX_SEED) {
    throw new RangeError(`Expected an integer in [0, 2^53) for ${name} but received ${String(seed)}`);
  }
  return seed;
}

/** A stream of random tensors. */
export class Generator {
  #seed: number;
  #offset: number;

  constructor(seed = 0, offset = 0) {
    this.#seed = checkSeed(seed, 'seed');
    this.#offset = checkSeed(offset, 'offset');
  }

  get state(): RandomState {
    return { seed: this.#seed, offset: this.#offset };
  }

  set state(state: RandomState) {
    this.#seed = checkSeed(state.seed, 'seed');
    this.#offset = checkSeed(state.offset, 'offset');
  }

  /** Uniform in [low, high). */
  uniform(shape: Shape, options: { low?: number; high?: number; dtype?: FloatDType } = {}): Tensor {
    const { low = 0, high = 1 } = options;
    const result = this.#draw(kernels.randomUniform, kernels.randomUniformAt, shape, options.dtype);
    return affine(result, high - low, low);
  }

  /** Normal with the given mean and standard deviation. */
  normal(shape: Shape, options: { mean?: number; std?: number; dtype?: FloatDType } = {}): Tensor {
    const { mean = 0, std = 1 } = options;
    const result = this.#draw(kernels.randomNormal, kernels.randomNormalAt, shape, options.dtype);
    return affine(result, std, mean);
  }

  #draw(
    kernel: typeof kernels.randomUniform,
    kernelAt: typeof kernels.randomUniformAt,
    shape: Shape,
    dtype: FloatDType = 'float32',
  ): Tensor {
    if (!isFloat(dtype)) throw new TypeError(`Expected 'float32' or 'float64' for dtype but received ${String(dtype)}`);
    const result = Tensor.empty(dtype, [...checkShape(shape)]);
    const record = recording();
    if (record === null) {
      kernel(DTYPE_CODE[dtype], result.size, this.#seed, this.#offset, result.address);
      this.#offset += result.size;
      return result;
    }
    if (result.device !== record.device) {
      throw new Error('Expected random numbers on the GPU inside a captured step but received a request for them on the CPU');
    }
    // Every replay draws the numbers that follow where the stream stands then.
    const before = this.state;
    record.onReplay({
      run: () => {},
      undo: () => {
        this.state = before;
      },
    });
    const state = record.numbers(2, (into) => {
      [into[0], into[1]] = [this.#seed, this.#offset];
      this.#offset += result.size;
    });
    kernelAt(DTYPE_CODE[dtype], result.size, state, result.address);
    return result;
  }
}

/** x <- scale x + shift, in place: the tensor is fresh. */
function affine(x: Tensor, scale: number, shift: number): Tensor {
  const code = DTYPE_CODE[x.dtype];
  const apply = (op: kernels.BinaryOp, value: number): void => {
    const constant = Tensor.empty(x.dtype, []);
    kernels.fill(code, 1, value, constant.address);
    kernels.binary(op, code, [x.size], x.address, [1], constant.address, [0], x.address);
    constant.dispose();
  };
  if (scale !== 1) apply(kernels.BinaryOp.mul, scale);
  if (shift !== 0) apply(kernels.BinaryOp.add, shift);
  return x;
}

/** The stream behind `randn` and the initialisers. */
export const defaultGenerator = new Generator(0);

/** Restarts the default stream of random numbers. */
export function seed(value: number): void {
  defaultGenerator.state = { seed: value, offset: 0 };
}

/** Standard normal numbers from the default stream. */
export function randn(shape: Shape, dtype: FloatDType = 'float32'): Tensor {
  return defaultGenerator.normal(shape, { dtype });
}
