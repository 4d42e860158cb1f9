/** Blur: convolution with a kernel, with a choice of what lies outside the image. */
import { cast, checkFloat, conv2d, convTranspose2d, flip, foldMode, type PaddingMode, padMode, reshape } from '../ops/index.js';
import { formatShape, type Tensor, tensor } from '../tensor/index.js';
import { checkSize } from './checks.js';
import { LinearOperator } from './operator.js';

export interface BlurOptions {
  /**
   * What lies outside the image: 'symmetric' (default), 'replicate', 'reflect', 'circular', 'zero', or 'valid': nothing, the result has
   * only the pixels whose neighbourhood is inside.
   */
  padding?: PaddingMode | 'valid';
}

/**
 * Convolution (the kernel is flipped) of images [..., height, width] with a kernel [kh, kw]; its centre is at [floor(kh / 2), floor(kw / 2)].
 * The operator is differentiable in the kernel. It keeps a reference of its own to the kernel.
 * @param size height and width of the image
 * @throws RangeError for a kernel without two axes, or larger than the image with 'valid'
 */
export function blur(size: readonly [number, number], kernel: Tensor, options: BlurOptions = {}): LinearOperator {
  checkSize(size);
  checkFloat(kernel, 'kernel');
  const { padding = 'symmetric' } = options;
  if (kernel.rank !== 2 || kernel.size === 0) {
    throw new RangeError(`Expected a kernel of shape [height, width] but received ${formatShape(kernel.shape)}`);
  }
  if (!['valid', 'symmetric', 'replicate', 'reflect', 'circular', 'zero'].includes(padding)) {
    throw new TypeError(
      `Expected 'symmetric', 'replicate', 'reflect', 'circular', 'zero' or 'valid' for padding but received ${String(padding)}`,
    );
  }
  const [kh, kw] = kernel.shape as [number, number];
  const output = padding === 'valid' ? ([size[0] - kh + 1, size[1] - kw + 1] as const) : size;
  if (output[0] < 1 || output[1] < 1) {
    throw new RangeError(`Expected a kernel no larger than the image ${formatShape(size)} but received ${formatShape(kernel.shape)}`);
  }
  // A flipped kernel reaches as far before a pixel as the kernel does behind its centre.
  const widths = [kh, kw].map((k): [number, number] => (padding === 'valid' ? [0, 0] : [k - 1 - Math.floor(k / 2), Math.floor(k / 2)]));
  // The convolution pads with zeros itself.
  const inside = padding === 'zero' || padding === 'valid';
  const weights = (x: Tensor): Tensor => reshape(flip(cast(kept, x.dtype)), [1, 1, kh, kw]);
  const plane = (x: Tensor): Tensor => reshape(x, [-1, 1, ...x.shape.slice(-2)]);
  const back = (y: Tensor, like: Tensor): Tensor => reshape(y, [...like.shape.slice(0, -2), ...y.shape.slice(-2)]);
  const kept = kernel.own();
  return new LinearOperator({
    name: 'blur',
    inputShape: size,
    outputShape: output,
    apply: (x) => {
      const image = plane(x);
      const y = inside ? conv2d(image, weights(x), { padding: widths }) : conv2d(padMode(image, widths, padding), weights(x));
      return back(y, x);
    },
    adjoint: (y) => {
      const image = plane(y);
      const x = inside
        ? convTranspose2d(image, weights(y), { padding: widths })
        : foldMode(convTranspose2d(image, weights(y)), widths, padding);
      return back(x, y);
    },
    constants: [kept],
  });
}

/**
 * A Gaussian kernel [size, size] with sum 1.
 * @param sigma standard deviation in pixels, > 0
 * @param size side, default: odd, reaching three standard deviations
 */
export function gaussianKernel(sigma: number, size: number = 2 * Math.ceil(3 * sigma) + 1): Tensor {
  if (!(sigma > 0 && sigma < Number.POSITIVE_INFINITY))
    throw new RangeError(`Expected a number > 0 for sigma but received ${String(sigma)}`);
  if (!Number.isInteger(size) || size < 1) throw new RangeError(`Expected an integer >= 1 for size but received ${String(size)}`);
  const middle = (size - 1) / 2;
  const line = Float64Array.from({ length: size }, (_, i) => Math.exp(-((i - middle) ** 2) / (2 * sigma * sigma)));
  const total = line.reduce((a, b) => a + b);
  const values = Float64Array.from({ length: size * size }, (_, i) => (line[Math.floor(i / size)]! * line[i % size]!) / total ** 2);
  return tensor(values, { shape: [size, size], dtype: 'float32' });
}
