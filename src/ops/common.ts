/** What the operation families share: argument conversion, constants, strides. */
import type { Aval } from '../autodiff/index.js';
import { device, kernels, precision, recording, withBfloat16Products } from '../backend/index.js';
import {
  broadcastStrides,
  DTYPE_BYTES,
  DTYPE_CODE,
  type DType,
  type FloatDType,
  isFloat,
  promote,
  type Shape,
  type Storage,
  scalar,
  sizeOf,
  stridesOf,
  Tensor,
} from '../tensor/index.js';

/** A tensor, or a number that stands for a scalar of the other operand's dtype. */
export type Operand = Tensor | number;

export const code = (x: Aval): number => DTYPE_CODE[x.dtype];

export function checkTensor(x: unknown, name = 'x'): Tensor {
  if (x instanceof Tensor) return x;
  if (typeof x === 'object' && x !== null && 'dtype' in x && 'shape' in x) {
    // What structuredClone and postMessage make of a tensor: its public fields, without its memory.
    throw new TypeError(
      `Expected a tensor for ${name} but received an object with its fields: tensors stay in their thread, send toTypedArray() instead`,
    );
  }
  throw new TypeError(`Expected a tensor for ${name} but received ${x === null ? 'null' : Array.isArray(x) ? 'an array' : typeof x}`);
}

export function checkFloat(x: unknown, name = 'x'): Tensor & { dtype: FloatDType } {
  const t = checkTensor(x, name);
  if (!isFloat(t.dtype)) throw new TypeError(`Expected a float32 or float64 tensor for ${name} but received ${t.dtype}`);
  return t as Tensor & { dtype: FloatDType };
}

/** Scalars that programs use again and again (2, 0.5, 1e-8 …) are made once. */
const constants = new Map<string, Storage>();

export function constant(value: number, dtype: DType): Tensor {
  const key = `${device()}:${dtype}:${Object.is(value, -0) ? '-0' : value}`;
  const known = constants.get(key);
  if (known !== undefined) return new Tensor(dtype, [], known.retain());
  const made = scalar(value, dtype);
  // A recording that fails leaves its memory unwritten.
  if (constants.size < 256 && recording() === null) constants.set(key, made.storage.retain());
  return made;
}

/** Zero-filled storage of the given shape. */
export function zerosOf(shape: Shape, dtype: DType): Tensor {
  const y = Tensor.empty(dtype, shape);
  kernels.fill(DTYPE_CODE[dtype], y.size, 0, y.address);
  return y;
}

/** Both operands as tensors of one dtype. Numbers take the other operand's dtype (float32 next to integers when they are fractional). */
export function unify(a: Operand, b: Operand, cast: (x: Tensor, dtype: DType) => Tensor): [Tensor, Tensor] {
  if (typeof a === 'number' && typeof b === 'number') return [constant(a, 'float32'), constant(b, 'float32')];
  if (typeof a === 'number') {
    const y = checkTensor(b, 'b');
    const [q, p] = unify(y, a, cast);
    return [p, q];
  }
  const x = checkTensor(a, 'a');
  if (typeof b === 'number') {
    const dtype = isFloat(x.dtype) || Number.isInteger(b) ? x.dtype : 'float32';
    return [x.dtype === dtype ? x : cast(x, dtype), constant(b, dtype)];
  }
  const y = checkTensor(b, 'b');
  if (x.dtype === y.dtype) return [x, y];
  const dtype = promote(x.dtype, y.dtype);
  return [x.dtype === dtype ? x : cast(x, dtype), y.dtype === dtype ? y : cast(y, dtype)];
}

/**
 * Calls a kernel that sums products with the addresses of its factors: those of the tensors, or of copies rounded to bfloat16 when that is
 * the precision of products. On the GPU the products' kernels round by themselves; `others` says that further kernels read the factors.
 */
export function withFactors(factors: readonly Tensor[], body: (...addresses: number[]) => void, others = false): void {
  const [first] = factors;
  if (precision() === 'float32' || first?.dtype !== 'float32') {
    body(...factors.map((t) => t.address));
    return;
  }
  const call = (tensors: readonly Tensor[]): void => {
    const addresses = tensors.map((t) => t.address);
    if (first.device === 'cuda') withBfloat16Products(() => body(...addresses));
    else body(...addresses);
  };
  if (first.device === 'cuda' && !others) {
    call(factors);
    return;
  }
  const rounded = factors.map((t) => {
    const copy = Tensor.empty(t.dtype, t.shape);
    kernels.unary(kernels.UnaryOp.roundBfloat16, code(t), t.size, t.address, copy.address);
    return copy;
  });
  call(rounded);
  for (const t of rounded) t.dispose();
}

/** y[y_offset + strided] = x[x_offset + strided] over `shape`. */
export function copyStrided(
  shape: Shape,
  x: Tensor,
  xOffset: number,
  xStrides: readonly number[],
  y: Tensor,
  yOffset: number,
  yStrides: readonly number[],
): void {
  if (sizeOf(shape) > 0) kernels.copyStrided(code(x), shape, x.address, xOffset, xStrides, y.address, yOffset, yStrides);
}

export { broadcastStrides, DTYPE_BYTES, sizeOf, stridesOf };
