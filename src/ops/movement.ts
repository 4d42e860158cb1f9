/** Linear operations that move elements: transpose, flip, slice, pad, concat, cast. */
import { bind1, definePrimitive, type Primitive } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { checkAxes, checkAxis, checkDType, type DType, formatShape, isFloat, type Shape, Tensor, tidy } from '../tensor/index.js';
import { reshape } from './broadcast.js';
import { checkTensor, code, copyStrided, stridesOf } from './common.js';

/** Removes axes of extent 1. */
export function squeeze(x: Tensor, axes?: number | readonly number[]): Tensor {
  const drop = axes === undefined ? x.shape.flatMap((extent, i) => (extent === 1 ? [i] : [])) : checkAxes(axes, x.rank);
  for (const axis of drop) {
    if (x.shape[axis] !== 1) throw new RangeError(`Expected extent 1 at axis ${axis} but received shape ${formatShape(x.shape)}`);
  }
  return reshape(
    x,
    x.shape.filter((_, i) => !drop.includes(i)),
  );
}

/** Inserts an axis of extent 1. */
export function expandDims(x: Tensor, axis: number): Tensor {
  const at = checkAxis(axis, checkTensor(x).rank + 1);
  return reshape(x, [...x.shape.slice(0, at), 1, ...x.shape.slice(at)]);
}

export const transposePrimitive: Primitive<{ order: readonly number[] }> = definePrimitive<{ order: readonly number[] }>({
  name: 'transpose',
  shape: ([x], { order }) => [{ dtype: x!.dtype, shape: order.map((axis) => x!.shape[axis] as number) }],
  kernel: ([x], { order }) => {
    const shape = order.map((axis) => x!.shape[axis] as number);
    const strides = stridesOf(x!.shape);
    const y = Tensor.empty(x!.dtype, shape);
    copyStrided(
      shape,
      x!,
      0,
      order.map((axis) => strides[axis] as number),
      y,
      0,
      stridesOf(shape),
    );
    return [y];
  },
  linear: {
    transpose: ([ct], _inputs, { order }) => {
      const inverse = new Array<number>(order.length);
      order.forEach((axis, i) => {
        inverse[axis] = i;
      });
      return [transpose(ct!, inverse)];
    },
  },
});

/** Permutes the axes; default: reverses them. */
export function transpose(x: Tensor, order?: readonly number[]): Tensor {
  checkTensor(x);
  const axes = order ? order.map((axis) => checkAxis(axis, x.rank, 'order')) : x.shape.map((_, i) => x.rank - 1 - i);
  if (axes.length !== x.rank || new Set(axes).size !== x.rank) {
    throw new RangeError(`Expected a permutation of ${x.rank} axes for order but received [${axes.join(', ')}]`);
  }
  return bind1(transposePrimitive, [x], { order: axes });
}

export const flipPrimitive: Primitive<{ axes: readonly number[] }> = definePrimitive<{ axes: readonly number[] }>({
  name: 'flip',
  shape: ([x]) => [{ dtype: x!.dtype, shape: x!.shape }],
  kernel: ([x], { axes }) => {
    const strides = stridesOf(x!.shape);
    let offset = 0;
    const reversed = strides.map((stride, i) => {
      if (!axes.includes(i)) return stride;
      offset += stride * Math.max(0, (x!.shape[i] as number) - 1);
      return -stride;
    });
    const y = Tensor.empty(x!.dtype, x!.shape);
    copyStrided(x!.shape, x!, offset, reversed, y, 0, strides);
    return [y];
  },
  linear: { transpose: ([ct], _inputs, { axes }) => [flip(ct!, axes)] },
});

/** Reverses the order along the given axes (default: all). */
export function flip(x: Tensor, axes?: number | readonly number[]): Tensor {
  return bind1(flipPrimitive, [checkTensor(x)], { axes: checkAxes(axes, x.rank) });
}

/** Moves the elements by `shift` places along an axis; those that leave at one end come in at the other. */
export function roll(x: Tensor, shift: number, axis = -1): Tensor {
  const at = checkAxis(axis, checkTensor(x).rank);
  if (!Number.isInteger(shift)) throw new RangeError(`Expected an integer for shift but received ${String(shift)}`);
  const n = x.shape[at] as number;
  const places = n === 0 ? 0 : ((shift % n) + n) % n;
  return places === 0 ? x.own() : tidy(() => concat([narrow(x, at, n - places), narrow(x, at, 0, n - places)], at));
}

interface SliceParams {
  start: readonly number[];
  size: readonly number[];
  step: readonly number[];
}

export const slicePrimitive: Primitive<SliceParams> = definePrimitive<SliceParams>({
  name: 'slice',
  shape: ([x], { size }) => [{ dtype: x!.dtype, shape: size }],
  kernel: ([x], { start, size, step }) => {
    const strides = stridesOf(x!.shape);
    const offset = start.reduce((sum, s, i) => sum + s * (strides[i] as number), 0);
    const y = Tensor.empty(x!.dtype, size);
    copyStrided(
      size,
      x!,
      offset,
      strides.map((stride, i) => stride * (step[i] as number)),
      y,
      0,
      stridesOf(size),
    );
    return [y];
  },
  linear: {
    transpose: ([ct], [x], { start, size, step }) => {
      const high = x!.shape.map((extent, i) =>
        size[i] === 0
          ? extent - (start[i] as number)
          : extent - ((start[i] as number) + ((size[i] as number) - 1) * (step[i] as number) + 1),
      );
      return [bind1(padPrimitive, [ct!], { low: start, high, interior: step.map((s) => s - 1), value: 0 })];
    },
  },
});

/**
 * A box of `x`: `size[i]` elements from `start[i]` on, `step[i]` apart.
 * @throws RangeError when the box reaches outside `x`
 */
export function slice(x: Tensor, start: readonly number[], size: readonly number[], step: readonly number[] = start.map(() => 1)): Tensor {
  checkTensor(x);
  if (start.length !== x.rank || size.length !== x.rank || step.length !== x.rank) {
    throw new RangeError(
      `Expected ${x.rank} entries for start, size and step but received ${start.length}, ${size.length} and ${step.length}`,
    );
  }
  for (let i = 0; i < x.rank; i++) {
    const [s, n, d, extent] = [start[i] as number, size[i] as number, step[i] as number, x.shape[i] as number];
    const ok =
      Number.isInteger(s) &&
      Number.isInteger(n) &&
      Number.isInteger(d) &&
      s >= 0 &&
      n >= 0 &&
      d >= 1 &&
      (n === 0 ? s <= extent : s + (n - 1) * d < extent);
    if (!ok) throw new RangeError(`Expected a slice inside extent ${extent} at axis ${i} but received start ${s}, size ${n}, step ${d}`);
  }
  return bind1(slicePrimitive, [x], { start: [...start], size: [...size], step: [...step] });
}

/** The slice start … stop - 1 along one axis; negative bounds count from the end. */
export function narrow(x: Tensor, axis: number, start: number, stop?: number): Tensor {
  const at = checkAxis(axis, checkTensor(x).rank);
  const extent = x.shape[at] as number;
  const from = start < 0 ? start + extent : start;
  const to = stop === undefined ? extent : stop < 0 ? stop + extent : stop;
  return slice(
    x,
    x.shape.map((_, i) => (i === at ? from : 0)),
    x.shape.map((n, i) => (i === at ? to - from : n)),
  );
}

interface PadParams {
  low: readonly number[];
  high: readonly number[];
  interior: readonly number[];
  value: number;
}

const paddedShape = (shape: Shape, { low, high, interior }: PadParams): number[] =>
  shape.map((n, i) => (low[i] as number) + (high[i] as number) + n + Math.max(0, n - 1) * (interior[i] as number));

export const padPrimitive: Primitive<PadParams> = definePrimitive<PadParams>({
  name: 'pad',
  shape: ([x], params) => [{ dtype: x!.dtype, shape: paddedShape(x!.shape, params) }],
  kernel: ([x], params) => {
    const shape = paddedShape(x!.shape, params);
    const y = Tensor.empty(x!.dtype, shape);
    kernels.fill(code(x!), y.size, params.value, y.address);
    const strides = stridesOf(shape);
    const offset = params.low.reduce((sum, l, i) => sum + l * (strides[i] as number), 0);
    copyStrided(
      x!.shape,
      x!,
      0,
      stridesOf(x!.shape),
      y,
      offset,
      strides.map((stride, i) => stride * ((params.interior[i] as number) + 1)),
    );
    return [y];
  },
  linear: {
    transpose: ([ct], [x], { low, interior }) => [
      slice(
        ct!,
        low,
        x!.shape,
        interior.map((gap) => gap + 1),
      ),
    ],
  },
  // The constant in the frame has no tangent.
  jvp: ([x], [dx], params) => ({
    outputs: [bind1(padPrimitive, [x!], params)],
    tangents: [dx === null || dx === undefined ? null : bind1(padPrimitive, [dx], { ...params, value: 0 })],
  }),
});

/** Surrounds `x` with a constant: `widths[i] = [before, after]` per axis, each >= 0. `interior[i]` constants go between neighbours. */
export function pad(
  x: Tensor,
  widths: readonly (readonly [number, number])[],
  options: { value?: number; interior?: readonly number[] } = {},
): Tensor {
  checkTensor(x);
  const interior = options.interior ?? widths.map(() => 0);
  if (widths.length !== x.rank || interior.length !== x.rank)
    throw new RangeError(`Expected ${x.rank} pairs for widths but received ${widths.length}`);
  for (const n of [...widths.flat(), ...interior]) {
    if (!Number.isInteger(n) || n < 0) throw new RangeError(`Expected integers >= 0 for widths but received ${String(n)}`);
  }
  return bind1(padPrimitive, [x], { low: widths.map((w) => w[0]), high: widths.map((w) => w[1]), interior, value: options.value ?? 0 });
}

export const concatPrimitive: Primitive<{ axis: number }> = definePrimitive<{ axis: number }>({
  name: 'concat',
  shape: (inputs, { axis }) => {
    const first = inputs[0]!;
    return [
      {
        dtype: first.dtype,
        shape: first.shape.map((n, i) => (i === axis ? inputs.reduce((sum, x) => sum + (x.shape[axis] as number), 0) : n)),
      },
    ];
  },
  kernel: (inputs, { axis }) => {
    const total = inputs.reduce((sum, x) => sum + (x.shape[axis] as number), 0);
    const shape = inputs[0]!.shape.map((n, i) => (i === axis ? total : n));
    const y = Tensor.empty(inputs[0]!.dtype, shape);
    const strides = stridesOf(shape);
    let at = 0;
    for (const x of inputs) {
      copyStrided(x.shape, x, 0, stridesOf(x.shape), y, at * (strides[axis] as number), strides);
      at += x.shape[axis] as number;
    }
    return [y];
  },
  linear: {
    transpose: ([ct], inputs, { axis }, isLinear) => {
      let at = 0;
      return inputs.map((x, i) => {
        const from = at;
        at += x.shape[axis] as number;
        return isLinear(i) ? narrow(ct!, axis, from, at) : null;
      });
    },
  },
});

/** Joins tensors along an existing axis. */
export function concat(tensors: readonly Tensor[], axis = 0): Tensor {
  if (!Array.isArray(tensors) || tensors.length === 0) throw new TypeError('Expected at least one tensor for concat but received none');
  const first = checkTensor(tensors[0]);
  const at = checkAxis(axis, first.rank);
  for (const x of tensors) {
    if (
      checkTensor(x).dtype !== first.dtype ||
      x.rank !== first.rank ||
      !x.shape.every((n: number, i: number) => i === at || n === first.shape[i])
    ) {
      throw new RangeError(
        `Expected tensors like ${first.dtype} ${formatShape(first.shape)} apart from axis ${at} but received ${x.dtype} ${formatShape(x.shape)}`,
      );
    }
  }
  return bind1(concatPrimitive, tensors, { axis: at });
}

/** Joins tensors of equal shape along a new axis. */
export function stack(tensors: readonly Tensor[], axis = 0): Tensor {
  return concat(
    tensors.map((x) => expandDims(x, axis)),
    axis,
  );
}

/** Cuts along an axis into parts of the given sizes, or into `parts` equal ones. */
export function split(x: Tensor, parts: number | readonly number[], axis = 0): Tensor[] {
  const at = checkAxis(axis, checkTensor(x).rank);
  const extent = x.shape[at] as number;
  const sizes = typeof parts === 'number' ? new Array<number>(parts).fill(extent / parts) : parts;
  if (sizes.reduce((a, b) => a + b, 0) !== extent || !sizes.every((n) => Number.isInteger(n) && n >= 0)) {
    throw new RangeError(`Expected sizes that add up to ${extent} for parts but received ${String(parts)}`);
  }
  let stop = 0;
  return sizes.map((n) => {
    stop += n;
    return narrow(x, at, stop - n, stop);
  });
}

export const castPrimitive: Primitive<{ dtype: DType }> = definePrimitive<{ dtype: DType }>({
  name: 'cast',
  shape: ([x], { dtype }) => [{ dtype, shape: x!.shape }],
  kernel: ([x], { dtype }) => {
    const y = Tensor.empty(dtype, x!.shape);
    kernels.cast(code(x!), code(y), x!.size, x!.address, y.address);
    return [y];
  },
  linear: { transpose: ([ct], [x]) => [cast(ct!, x!.dtype)] },
  jvp: ([x], [dx], params) => ({
    outputs: [bind1(castPrimitive, [x!], params)],
    tangents: [dx != null && isFloat(params.dtype) ? bind1(castPrimitive, [dx], params) : null],
  }),
});

/** The same numbers in another dtype; floats become integers by truncation. */
export function cast(x: Tensor, dtype: DType): Tensor {
  return checkTensor(x).dtype === checkDType(dtype) ? x : bind1(castPrimitive, [x], { dtype });
}
