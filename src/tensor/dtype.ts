/** Element types of tensors. */
export type DType = 'float32' | 'float64' | 'int32' | 'uint8';
export type FloatDType = 'float32' | 'float64';
export type TypedArray = Float32Array | Float64Array | Int32Array | Uint8Array;

/** Codes of native/backend.h. */
export const DTYPE_CODE: Readonly<Record<DType, number>> = { float32: 0, float64: 1, int32: 2, uint8: 3 };
export const DTYPE_BYTES: Readonly<Record<DType, number>> = { float32: 4, float64: 8, int32: 4, uint8: 1 };
export const DTYPE_ARRAY = { float32: Float32Array, float64: Float64Array, int32: Int32Array, uint8: Uint8Array } as const;

export function isFloat(dtype: DType): dtype is FloatDType {
  return dtype === 'float32' || dtype === 'float64';
}

export function checkDType(dtype: unknown, name = 'dtype'): DType {
  if (typeof dtype === 'string' && Object.hasOwn(DTYPE_CODE, dtype)) return dtype as DType;
  throw new TypeError(`Expected 'float32', 'float64', 'int32' or 'uint8' for ${name} but received ${String(dtype)}`);
}

/** The dtype of a typed array, or undefined when tensors cannot hold it. */
export function dtypeOf(array: unknown): DType | undefined {
  if (array instanceof Float32Array) return 'float32';
  if (array instanceof Float64Array) return 'float64';
  if (array instanceof Int32Array) return 'int32';
  if (array instanceof Uint8Array || array instanceof Uint8ClampedArray) return 'uint8';
  return undefined;
}

/** NumPy's promotion, restricted to these types: floats win over integers, wider wins. */
export function promote(a: DType, b: DType): DType {
  if (a === b) return a;
  if (a === 'float64' || b === 'float64') return 'float64';
  if (a === 'float32' || b === 'float32') return 'float32';
  return 'int32';
}
