/** Means, extrema and cumulative sums. */
import { bind1, definePrimitive, type Primitive } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { checkAxes, checkAxis, linesAlong, Tensor, tidy } from '../tensor/index.js';
import { type AxesParams, finish, type ReduceOptions, reduceKernel, reshape, sum, withOnes, without } from './broadcast.js';
import { checkFloat, checkTensor, code } from './common.js';
import { compare, div, mul } from './elementwise.js';
import { cast } from './movement.js';

/** The mean over `axes` of a floating-point tensor. */
export function mean(x: Tensor, options: ReduceOptions = {}): Tensor {
  const axes = checkAxes(options.axes, checkFloat(x).rank);
  return tidy(() =>
    div(
      sum(x, options),
      axes.reduce((n, axis) => n * (x.shape[axis] as number), 1),
    ),
  );
}

function extremum(name: 'max' | 'min', op: kernels.ReduceOp): Primitive<AxesParams> {
  const primitive: Primitive<AxesParams> = definePrimitive<AxesParams>({
    name: name === 'max' ? 'reduceMax' : 'reduceMin',
    shape: ([x], { axes }) => [{ dtype: x!.dtype, shape: without(x!.shape, axes) }],
    kernel: ([x], { axes }) => [reduceKernel(op, x!, axes)],
    // The tangent is that of the extremal element; ties share it equally.
    jvp: ([x], [dx], { axes }) => {
      const y = bind1(primitive, [x!], { axes });
      const hit = cast(compare.eq(x!, reshape(y, withOnes(x!.shape, axes))), x!.dtype);
      const share = div(hit, sum(hit, { axes, keepDims: true }));
      return { outputs: [y], tangents: [sum(mul(share, dx!), { axes })] };
    },
  });
  return primitive;
}

export const reduceMaxPrimitive = extremum('max', kernels.ReduceOp.max);
export const reduceMinPrimitive = extremum('min', kernels.ReduceOp.min);

function reduced(primitive: typeof reduceMaxPrimitive, x: Tensor, options: ReduceOptions): Tensor {
  return tidy(() => {
    const axes = checkAxes(options.axes, checkTensor(x).rank);
    if (axes.some((axis) => x.shape[axis] === 0))
      throw new RangeError('Expected at least one element to reduce but received an empty tensor');
    return finish(bind1(primitive, [x], { axes }), x, axes, options.keepDims);
  });
}

/** The largest element over `axes`; NaN wins. */
export function max(x: Tensor, options: ReduceOptions = {}): Tensor {
  return reduced(reduceMaxPrimitive, x, options);
}

/** The smallest element over `axes`; NaN wins. */
export function min(x: Tensor, options: ReduceOptions = {}): Tensor {
  return reduced(reduceMinPrimitive, x, options);
}

export const argMaxPrimitive: Primitive<{ axis: number }> = definePrimitive<{ axis: number }>({
  name: 'argMax',
  shape: ([x], { axis }) => [{ dtype: 'int32', shape: without(x!.shape, [axis]) }],
  kernel: ([x], { axis }) => {
    const y = Tensor.empty('int32', without(x!.shape, [axis]));
    kernels.reduce(kernels.ReduceOp.argMax, code(x!), linesAlong(x!.shape, axis), x!.address, y.address);
    return [y];
  },
});

/** The int32 index of the first largest element along an axis. */
export function argMax(x: Tensor, axis = -1): Tensor {
  const at = checkAxis(axis, checkTensor(x).rank);
  if (x.shape[at] === 0) throw new RangeError('Expected at least one element to reduce but received an empty tensor');
  return bind1(argMaxPrimitive, [x], { axis: at });
}

export const cumsumPrimitive: Primitive<{ axis: number; reverse: boolean }> = definePrimitive<{ axis: number; reverse: boolean }>({
  name: 'cumsum',
  shape: ([x]) => [{ dtype: x!.dtype, shape: x!.shape }],
  kernel: ([x], { axis, reverse }) => {
    const y = Tensor.empty(x!.dtype, x!.shape);
    kernels.cumsum(code(x!), linesAlong(x!.shape, axis), reverse ? 1 : 0, x!.address, y.address);
    return [y];
  },
  linear: { transpose: ([ct], _inputs, { axis, reverse }) => [bind1(cumsumPrimitive, [ct!], { axis, reverse: !reverse })] },
});

/** Cumulative sums along an axis, from its start or (`reverse`) from its end. */
export function cumsum(x: Tensor, options: { axis?: number; reverse?: boolean } = {}): Tensor {
  return bind1(cumsumPrimitive, [checkTensor(x)], { axis: checkAxis(options.axis ?? -1, x.rank), reverse: options.reverse ?? false });
}
