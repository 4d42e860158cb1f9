/** Forward differences along an axis and their adjoint (the negative divergence). */
import { bind1, definePrimitive, type Primitive } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { checkAxis, type Shape, sizeOf, Tensor } from '../tensor/index.js';
import { checkFloat, code, copyStrided, DTYPE_BYTES, stridesOf, zerosOf } from './common.js';

const { BinaryOp } = kernels;
const resized = (shape: Shape, axis: number, by: number): number[] => shape.map((n, i) => (i === axis ? n + by : n));

export const differencePrimitive: Primitive<{ axis: number }> = definePrimitive<{ axis: number }>({
  name: 'difference',
  shape: ([x], { axis }) => [{ dtype: x!.dtype, shape: resized(x!.shape, axis, -1) }],
  kernel: ([x], { axis }) => {
    const shape = resized(x!.shape, axis, -1);
    const y = Tensor.empty(x!.dtype, shape);
    const strides = stridesOf(x!.shape);
    const next = (strides[axis] as number) * DTYPE_BYTES[x!.dtype];
    if (y.size > 0) kernels.binary(BinaryOp.sub, code(x!), shape, x!.address + next, strides, x!.address, strides, y.address);
    return [y];
  },
  linear: { transpose: ([ct], _inputs, { axis }) => [bind1(differenceAdjointPrimitive, [ct!], { axis })] },
});

export const differenceAdjointPrimitive: Primitive<{ axis: number }> = definePrimitive<{ axis: number }>({
  name: 'differenceAdjoint',
  shape: ([v], { axis }) => [{ dtype: v!.dtype, shape: resized(v!.shape, axis, 1) }],
  // (Dᵀv)_i = v_{i-1} - v_i with zeros outside: two padded copies and their difference.
  kernel: ([v], { axis }) => {
    const shape = resized(v!.shape, axis, 1);
    const strides = stridesOf(shape);
    const left = zerosOf(shape, v!.dtype);
    const right = zerosOf(shape, v!.dtype);
    copyStrided(v!.shape, v!, 0, stridesOf(v!.shape), left, strides[axis] as number, strides);
    copyStrided(v!.shape, v!, 0, stridesOf(v!.shape), right, 0, strides);
    kernels.binary(BinaryOp.sub, code(v!), [sizeOf(shape)], left.address, [1], right.address, [1], left.address);
    right.dispose();
    return [left];
  },
  linear: { transpose: ([ct], _inputs, { axis }) => [bind1(differencePrimitive, [ct!], { axis })] },
});

/** y_i = x_{i+1} - x_i along an axis of extent >= 1; the result is one shorter. */
export function difference(x: Tensor, axis = -1): Tensor {
  const at = checkAxis(axis, checkFloat(x).rank);
  if (x.shape[at] === 0) throw new RangeError('Expected at least one element along the axis but received none');
  return bind1(differencePrimitive, [x], { axis: at });
}

/** The adjoint of `difference`: (Dᵀv)_i = v_{i-1} - v_i; the result is one longer. */
export function differenceAdjoint(v: Tensor, axis = -1): Tensor {
  return bind1(differenceAdjointPrimitive, [checkFloat(v, 'v')], { axis: checkAxis(axis, v.rank) });
}
