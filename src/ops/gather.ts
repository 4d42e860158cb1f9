/** Gather and its adjoint, scatter-add. */
import { bind1, definePrimitive, type Primitive } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { checkAxis, formatShape, linesAlong, Tensor, tensor, tidy } from '../tensor/index.js';
import { checkTensor, code, zerosOf } from './common.js';
import { indicesWithin } from './indices.js';

export const gatherPrimitive: Primitive<{ axis: number }> = definePrimitive<{ axis: number }>({
  name: 'gather',
  shape: ([x, index], { axis }) => [{ dtype: x!.dtype, shape: x!.shape.map((n, i) => (i === axis ? (index!.shape[0] as number) : n)) }],
  kernel: ([x, index], { axis }) => {
    const y = Tensor.empty(
      x!.dtype,
      x!.shape.map((n, i) => (i === axis ? index!.size : n)),
    );
    kernels.gather(code(x!), linesAlong(x!.shape, axis), index!.size, x!.address, index!.address, y.address);
    return [y];
  },
  linear: {
    inputs: [0],
    transpose: ([ct], [x, index], { axis }) => [
      bind1(scatterAddPrimitive, [ct!, index!], { axis, extent: x!.shape[axis] as number }),
      null,
    ],
  },
});

export const scatterAddPrimitive: Primitive<{ axis: number; extent: number }> = definePrimitive<{ axis: number; extent: number }>({
  name: 'scatterAdd',
  shape: ([x], { axis, extent }) => [{ dtype: x!.dtype, shape: x!.shape.map((n, i) => (i === axis ? extent : n)) }],
  kernel: ([x, index], { axis, extent }) => {
    const y = zerosOf(
      x!.shape.map((n, i) => (i === axis ? extent : n)),
      x!.dtype,
    );
    kernels.scatterAdd(code(x!), linesAlong(y.shape, axis), index!.size, x!.address, index!.address, y.address);
    return [y];
  },
  linear: { inputs: [0], transpose: ([ct], [, index], { axis }) => [bind1(gatherPrimitive, [ct!, index!], { axis }), null] },
});

/** The index as a tensor: an array is checked here, which spares waiting for the device. */
function checkedIndex(index: Tensor | Int32Array, extent: number): Tensor {
  if (index instanceof Int32Array) {
    const bad = index.find((i) => i < 0 || i >= extent);
    if (bad !== undefined) throw new RangeError(`Expected indices in [0, ${extent - 1}] but received ${bad}`);
    return tensor(index);
  }
  if (checkTensor(index, 'index').dtype !== 'int32' || index.rank !== 1) {
    throw new TypeError(`Expected an int32 tensor of rank 1 for index but received ${index.dtype} ${formatShape(index.shape)}`);
  }
  return indicesWithin(index, extent, 'indices');
}

/**
 * The slices of x at `index` along an axis.
 * @param index int32 of rank 1, or an Int32Array, which spares waiting for the device; entries in [0, extent of the axis)
 */
export function gather(x: Tensor, index: Tensor | Int32Array, axis = 0): Tensor {
  const at = checkAxis(axis, checkTensor(x).rank);
  return tidy(() => bind1(gatherPrimitive, [x, checkedIndex(index, x.shape[at] as number)], { axis: at }));
}

/**
 * A tensor of zeros with `extent` slices along the axis, to which the slices of x are added at `index`.
 * @param index int32 of rank 1, or an Int32Array, which spares waiting for the device; entries in [0, extent)
 */
export function scatterAdd(x: Tensor, index: Tensor | Int32Array, extent: number, axis = 0): Tensor {
  const at = checkAxis(axis, checkTensor(x).rank);
  if (!Number.isInteger(extent) || extent < 0) throw new RangeError(`Expected an integer >= 0 for extent but received ${String(extent)}`);
  return tidy(() => {
    const checked = checkedIndex(index, extent);
    if (checked.size !== x.shape[at]) throw new RangeError(`Expected ${x.shape[at]} indices but received ${checked.size}`);
    return bind1(scatterAddPrimitive, [x, checked], { axis: at, extent });
  });
}
