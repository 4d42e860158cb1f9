/** Pooling over windows of the last two axes, each in one pass over memory. */
import { bind, bind1, definePrimitive, type Primitive } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { formatShape, type Shape, sizeOf, Tensor } from '../tensor/index.js';
import { checkFloat, code } from './common.js';
import type { PerAxis } from './conv.js';

export interface PoolOptions {
  size: PerAxis;
  /** Default: the window's size. */
  stride?: PerAxis;
  /** Pixels around the image, at most half the window; they never win a maximum, and count as zeros in an average. Default 0. */
  padding?: PerAxis;
}

interface Windows {
  native: kernels.PoolParams;
  /** Shapes of the image and of the result. */
  x: Shape;
  y: Shape;
}

export const maxPoolPrimitive: Primitive<Windows> = definePrimitive<Windows>({
  name: 'maxPool',
  // The second output: where in its plane each maximum lies.
  shape: ([x], { y }) => [
    { dtype: x!.dtype, shape: y },
    { dtype: 'int32', shape: y },
  ],
  kernel: ([x], { native, y: shape }) => {
    const [y, index] = [Tensor.empty(x!.dtype, shape), Tensor.empty('int32', shape)];
    if (y.size > 0) kernels.maxPool(code(x!), native, x!.address, y.address, index.address);
    return [y, index];
  },
  jvp: ([x], [dx], windows) => {
    const [y, index] = bind(maxPoolPrimitive, [x!], windows) as [Tensor, Tensor];
    return { outputs: [y, index], tangents: [bind1(maxPoolPickPrimitive, [index, dx!], windows), null] };
  },
});

/** The value at each index of its plane. Inputs: the indices, and an image. */
export const maxPoolPickPrimitive: Primitive<Windows> = definePrimitive<Windows>({
  name: 'maxPoolPick',
  shape: ([, v], { y }) => [{ dtype: v!.dtype, shape: y }],
  kernel: ([index, v], { native, y }) => {
    const out = Tensor.empty(v!.dtype, y);
    if (out.size > 0) kernels.maxPoolPick(code(v!), native, index!.address, v!.address, out.address);
    return [out];
  },
  linear: { inputs: [1], transpose: ([ct], [index], windows) => [null, bind1(maxPoolSpreadPrimitive, [index!, ct!], windows)] },
});

/** An image of the sums over the values with the same index: the adjoint. Inputs: the indices, and a value for each. */
export const maxPoolSpreadPrimitive: Primitive<Windows> = definePrimitive<Windows>({
  name: 'maxPoolSpread',
  shape: ([, v], { x }) => [{ dtype: v!.dtype, shape: x }],
  kernel: ([index, v], { native, x }) => {
    const out = Tensor.empty(v!.dtype, x);
    if (out.size > 0) kernels.maxPoolSpread(code(v!), native, index!.address, v!.address, out.address);
    return [out];
  },
  linear: { inputs: [1], transpose: ([ct], [index], windows) => [null, bind1(maxPoolPickPrimitive, [index!, ct!], windows)] },
});

export const averagePoolPrimitive: Primitive<Windows & { transposed: boolean }> = definePrimitive<Windows & { transposed: boolean }>({
  name: 'averagePool',
  shape: ([v], { transposed, x, y }) => [{ dtype: v!.dtype, shape: transposed ? x : y }],
  kernel: ([v], { native, transposed, x, y }) => {
    const out = Tensor.empty(v!.dtype, transposed ? x : y);
    if (out.size > 0) kernels.averagePool(code(v!), native, transposed ? 1 : 0, v!.address, out.address);
    return [out];
  },
  linear: { transpose: ([ct], _inputs, params) => [bind1(averagePoolPrimitive, [ct!], { ...params, transposed: !params.transposed })] },
});

function pair(value: PerAxis | undefined, fallback: readonly number[], low: number, name: string): [number, number] {
  const list = value === undefined ? [...fallback] : typeof value === 'number' ? [value, value] : [...value];
  if (list.length !== 2 || !list.every((n) => Number.isInteger(n) && n >= low)) {
    throw new RangeError(`Expected an integer >= ${low}, or two of them, for ${name} but received ${JSON.stringify(value)}`);
  }
  return list as [number, number];
}

function windowsOf(x: Tensor, options: PoolOptions): Windows {
  checkFloat(x);
  const size = pair(options.size, [], 1, 'size');
  const stride = pair(options.stride, size, 1, 'stride');
  const padding = pair(options.padding, [0, 0], 0, 'padding');
  if (padding.some((p, i) => 2 * p > (size[i] as number)))
    throw new RangeError(`Expected padding of at most half the window [${size}] but received [${padding}]`);
  if (x.rank < 2) throw new RangeError(`Expected at least two axes for x but received shape ${formatShape(x.shape)}`);
  const lead = x.shape.slice(0, -2);
  const [h, w] = x.shape.slice(-2) as [number, number];
  const out = ([h, w] as const).map((n, i) => Math.floor((n + 2 * padding[i]! - size[i]!) / stride[i]!) + 1);
  const [outH, outW] = out as [number, number];
  if (h < 1 || w < 1 || outH < 1 || outW < 1)
    throw new RangeError(`Expected an image at least as large as the window [${size}] but received shape ${formatShape(x.shape)}`);
  const [[kh, kw], [strideH, strideW], [padH, padW]] = [size, stride, padding];
  return { native: { planes: sizeOf(lead), h, w, kh, kw, strideH, strideW, padH, padW, outH, outW }, x: x.shape, y: [...lead, outH, outW] };
}

/** The largest value of each window; NaN wins. At a tie the derivative is that of the first one, row by row. */
export function maxPool2d(x: Tensor, options: PoolOptions): Tensor {
  const [y, index] = bind(maxPoolPrimitive, [x], windowsOf(x, options)) as [Tensor, Tensor];
  index.dispose();
  return y;
}

/** The mean of each window. */
export function averagePool2d(x: Tensor, options: PoolOptions): Tensor {
  return bind1(averagePoolPrimitive, [x], { ...windowsOf(x, options), transposed: false });
}
