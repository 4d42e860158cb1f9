/** Reshape, broadcast and sum: the last two are each other's adjoints. */
import { bind1, definePrimitive, type Primitive } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { broadcastShapes, checkAxes, checkShape, formatShape, type Shape, sameShape, sizeOf, Tensor, tidy } from '../tensor/index.js';
import { broadcastStrides, checkTensor, code, copyStrided, stridesOf } from './common.js';

export const reshapePrimitive: Primitive<{ shape: Shape }> = definePrimitive<{ shape: Shape }>({
  name: 'reshape',
  shape: ([x], { shape }) => [{ dtype: x!.dtype, shape }],
  kernel: ([x], { shape }) => [x!.reshaped(shape)],
  linear: { transpose: ([ct], [x]) => [reshape(ct!, x!.shape)] },
});

/** The same elements under another shape; one extent may be -1. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  checkTensor(x);
  const unknown = Array.isArray(shape) ? shape.indexOf(-1) : -1;
  let target = shape;
  if (unknown >= 0) {
    const rest = shape.reduce((n, extent, i) => (i === unknown ? n : n * extent), 1);
    target = shape.map((extent, i) => (i === unknown ? x.size / rest : extent));
  }
  if (unknown >= 0 && !target.every((extent) => Number.isInteger(extent) && extent >= 0)) {
    throw new RangeError(`Expected a shape that ${x.size} elements fill but received ${formatShape(shape)}`);
  }
  checkShape(target);
  if (sizeOf(target) !== x.size) {
    throw new RangeError(`Expected a shape of ${x.size} elements but received ${formatShape(shape)}`);
  }
  return bind1(reshapePrimitive, [x], { shape: [...target] });
}

export const broadcastToPrimitive: Primitive<{ shape: Shape }> = definePrimitive<{ shape: Shape }>({
  name: 'broadcastTo',
  shape: ([x], { shape }) => [{ dtype: x!.dtype, shape }],
  kernel: ([x], { shape }) => {
    const y = Tensor.empty(x!.dtype, shape);
    copyStrided(shape, x!, 0, broadcastStrides(x!.shape, shape), y, 0, stridesOf(shape));
    return [y];
  },
  linear: { transpose: ([ct], [x]) => [sumTo(ct!, x!.shape)] },
});

/** Repeats along axes of extent 1 (and new leading axes) until the shape is reached. */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  checkTensor(x);
  checkShape(shape);
  if (sameShape(x.shape, shape)) return x;
  if (!sameShape(broadcastShapes(x.shape, shape), shape)) {
    throw new RangeError(`Expected a shape that ${formatShape(x.shape)} broadcasts to but received ${formatShape(shape)}`);
  }
  return bind1(broadcastToPrimitive, [x], { shape: [...shape] });
}

export type AxesParams = { axes: readonly number[] };

export const without = (shape: Shape, axes: readonly number[]): number[] => shape.filter((_, i) => !axes.includes(i));
/** The shape with extent 1 in place of the reduced axes: it broadcasts back. */
export const withOnes = (shape: Shape, axes: readonly number[]): number[] => shape.map((n, i) => (axes.includes(i) ? 1 : n));

/** Neighbouring axes are reduced in one pass, groups from the last to the first. */
export function reduceKernel(op: kernels.ReduceOp, x: Tensor, axes: readonly number[]): Tensor {
  let value = x;
  let shape = [...x.shape];
  let end = axes.length;
  while (end > 0) {
    let begin = end - 1;
    while (begin > 0 && axes[begin - 1] === (axes[begin] as number) - 1) begin--;
    const [first, last] = [axes[begin] as number, axes[end - 1] as number];
    const lines = { outer: sizeOf(shape.slice(0, first)), n: sizeOf(shape.slice(first, last + 1)), inner: sizeOf(shape.slice(last + 1)) };
    shape = shape.map((n, i) => (i >= first && i <= last ? 1 : n));
    const next = Tensor.empty(x.dtype, shape);
    kernels.reduce(op, code(x), lines, value.address, next.address);
    if (value !== x) value.dispose();
    value = next;
    end = begin;
  }
  const result = value.reshaped(without(x.shape, axes));
  if (value !== x) value.dispose();
  return result;
}

export const sumPrimitive: Primitive<AxesParams> = definePrimitive<AxesParams>({
  name: 'sum',
  shape: ([x], { axes }) => [{ dtype: x!.dtype, shape: without(x!.shape, axes) }],
  kernel: ([x], { axes }) => [reduceKernel(kernels.ReduceOp.sum, x!, axes)],
  linear: { transpose: ([ct], [x], { axes }) => [broadcastTo(reshape(ct!, withOnes(x!.shape, axes)), x!.shape)] },
});

/** Options of reductions: which axes (default all), and whether they stay with extent 1. */
export interface ReduceOptions {
  axes?: number | readonly number[];
  keepDims?: boolean;
}

export function finish(result: Tensor, x: Tensor, axes: readonly number[], keepDims = false): Tensor {
  return keepDims ? reshape(result, withOnes(x.shape, axes)) : result;
}

/** The sum over `axes`. */
export function sum(x: Tensor, options: ReduceOptions = {}): Tensor {
  return tidy(() => {
    const axes = checkAxes(options.axes, checkTensor(x).rank);
    return finish(bind1(sumPrimitive, [x], { axes }), x, axes, options.keepDims);
  });
}

/** Sums a tensor back to a shape that broadcasts to its own: the adjoint of broadcasting. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  return tidy(() => {
    if (sameShape(x.shape, shape)) return x;
    const lead = x.rank - shape.length;
    const axes = x.shape.flatMap((n, i) => (i < lead || (shape[i - lead] === 1 && n !== 1) ? [i] : []));
    return reshape(axes.length === 0 ? x : bind1(sumPrimitive, [x], { axes }), shape);
  });
}
