/** Changes of resolution: MATLAB's bicubic imresize, and plain decimation. */
import { add, cast, div, matmul, mul, type Operand, pad, slice } from '../ops/index.js';
import { type Tensor, tensor } from '../tensor/index.js';
import { checkSize } from './checks.js';
import { LinearOperator } from './operator.js';

export interface BicubicOptions {
  /** Factor of both axes, e.g. 1 / 3: the result has ceil(scale · extent) pixels along each. */
  scale?: number;
  /** New height and width, instead of a factor. */
  size?: readonly [number, number];
  /** Whether the kernel is stretched when the image shrinks. Default true. */
  antialias?: boolean;
}

/** Keys' cubic convolution kernel with a = -1/2 (Keys 1981). */
function cubic(t: number): number {
  const x = Math.abs(t);
  if (x <= 1) return 1.5 * x ** 3 - 2.5 * x ** 2 + 1;
  return x < 2 ? -0.5 * x ** 3 + 2.5 * x ** 2 - 4 * x + 2 : 0;
}

/**
 * The matrix [out, n] of imresize along one axis: the weights of an output pixel sum to 1, and pixels beyond the border are the mirror
 * image with the border pixel repeated.
 */
export function bicubicMatrix(n: number, out: number, scale: number, antialias = true): Float64Array {
  const matrix = new Float64Array(out * n);
  const stretch = antialias && scale < 1 ? scale : 1;
  const width = 4 / stretch;
  for (let i = 0; i < out; i++) {
    // The centre of output pixel i, in input pixels counted from 0.
    const centre = (i + 0.5) / scale - 0.5;
    const first = Math.floor(centre - width / 2);
    const taps: [number, number][] = [];
    let total = 0;
    for (let k = 0; k < Math.ceil(width) + 2; k++) {
      const weight = stretch * cubic(stretch * (centre - (first + k)));
      if (weight !== 0) taps.push([first + k, weight]);
      total += weight;
    }
    for (const [at, weight] of taps) {
      const wrapped = ((at % (2 * n)) + 2 * n) % (2 * n);
      matrix[i * n + (wrapped < n ? wrapped : 2 * n - 1 - wrapped)]! += weight / total;
    }
  }
  return matrix;
}

/**
 * Bicubic resizing with the semantics of MATLAB's imresize (kernel a = -1/2, antialiasing when shrinking, symmetric borders) of images
 * [..., height, width]; up or down, any factor, per axis a product with a matrix, so that the adjoint is exact.
 * @param size height and width of the image
 * @throws RangeError unless exactly one of scale and size is given, and positive
 */
export function bicubicResize(size: readonly [number, number], options: BicubicOptions): LinearOperator {
  checkSize(size);
  const { scale, size: wanted, antialias = true } = options ?? {};
  if ((scale === undefined) === (wanted === undefined))
    throw new TypeError('Expected either scale or size for bicubicResize but received both or neither');
  if (scale !== undefined && !(scale > 0 && scale < Number.POSITIVE_INFINITY)) {
    throw new RangeError(`Expected a number > 0 for scale but received ${String(scale)}`);
  }
  if (wanted !== undefined) checkSize(wanted, 'options.size');
  // 3 · (1 / 3) may come out a rounding above 1: a hair is taken off before rounding up.
  const output = wanted ?? (size.map((n) => Math.max(1, Math.ceil(n * (scale as number) - 1e-9))) as [number, number]);
  const matrices = ([0, 1] as const).map((axis) =>
    tensor(bicubicMatrix(size[axis], output[axis], scale ?? output[axis] / size[axis], antialias), { shape: [output[axis], size[axis]] }),
  );
  const [rows, columns] = matrices as [Tensor, Tensor];
  return new LinearOperator({
    name: 'bicubicResize',
    inputShape: size,
    outputShape: output,
    // R X Cᵀ and Rᵀ Y C
    apply: (x) => matmul(cast(rows, x.dtype), matmul(x, cast(columns, x.dtype), { transposeB: true })),
    adjoint: (y) => matmul(cast(rows, y.dtype), matmul(y, cast(columns, y.dtype)), { transposeA: true }),
    constants: matrices,
  });
}

/**
 * Every factor-th pixel along both axes, from the first on, of images [..., height, width].
 * @param factor an integer >= 1, or one per axis
 */
export function decimation(size: readonly [number, number], factor: number | readonly [number, number]): LinearOperator {
  checkSize(size);
  const step = typeof factor === 'number' ? ([factor, factor] as const) : factor;
  if (!Array.isArray(step) || step.length !== 2 || !step.every((n) => Number.isInteger(n) && n >= 1)) {
    throw new RangeError(`Expected an integer >= 1, or one per axis, for factor but received ${JSON.stringify(factor) ?? String(factor)}`);
  }
  const output = size.map((n, i) => Math.ceil(n / (step[i] as number))) as [number, number];
  const leading = (x: Tensor): readonly number[] => x.shape.slice(0, -2).map(() => 0);
  const apply = (x: Tensor): Tensor =>
    slice(x, [...leading(x), 0, 0], [...x.shape.slice(0, -2), ...output], [...leading(x).map(() => 1), ...step]);
  const adjoint = (y: Tensor): Tensor =>
    pad(
      y,
      [...leading(y), 0, 1].map((_, i): [number, number] => {
        const axis = i - (y.rank - 2);
        return [0, axis < 0 ? 0 : (size[axis] as number) - ((output[axis] as number) - 1) * (step[axis] as number) - 1];
      }),
      { interior: [...leading(y), step[0] - 1, step[1] - 1] },
    );
  return new LinearOperator({
    name: 'decimation',
    inputShape: size,
    outputShape: output,
    apply,
    adjoint,
    // AᵀA = M, a mask: v - τ / (1 + τ) M v
    resolvent: (v, tau) => add(v, mul(adjoint(apply(v)), fraction(tau))),
  });
}

/** -τ / (1 + τ) */
const fraction = (tau: Operand): Operand => (typeof tau === 'number' ? -tau / (1 + tau) : div(mul(tau, -1), add(tau, 1)));
