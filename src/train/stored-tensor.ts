/** Tensors as files hold them: an element type, a shape, and plain numbers. */

export type StoredArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array;

/** What `data` must be made of, and the size of an element in the file. */
export const dtypes = {
  F64: { bytes: 8, array: Float64Array },
  F32: { bytes: 4, array: Float32Array },
  // Half precision has no array type on all supported versions of Node; it is widened when read, and never written.
  F16: { bytes: 2, array: Float32Array },
  BF16: { bytes: 2, array: Float32Array },
  I64: { bytes: 8, array: BigInt64Array },
  I32: { bytes: 4, array: Int32Array },
  I16: { bytes: 2, array: Int16Array },
  I8: { bytes: 1, array: Int8Array },
  U64: { bytes: 8, array: BigUint64Array },
  U32: { bytes: 4, array: Uint32Array },
  U16: { bytes: 2, array: Uint16Array },
  U8: { bytes: 1, array: Uint8Array },
  BOOL: { bytes: 1, array: Uint8Array },
} as const;

export type Dtype = keyof typeof dtypes;

export interface StoredTensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly data: StoredArray;
}

export type TensorMap = ReadonlyMap<string, StoredTensor>;

/** The little-endian bytes of a tensor, sharing its memory. */
export function toBytes(name: string, { dtype, shape, data }: StoredTensor): Uint8Array {
  const { array, bytes } = dtypes[dtype];
  if (dtype === 'F16' || dtype === 'BF16') {
    throw new TypeError(`Expected F32 or F64 for the type of "${name}" but received ${dtype}, which is only read`);
  }
  if (!(data instanceof array)) {
    throw new TypeError(`Expected a ${array.name} for the ${dtype} tensor "${name}" but received ${data.constructor.name}`);
  }
  const length = shape.reduce((product, n) => product * n, 1);
  if (!Number.isSafeInteger(length) || data.length !== length || shape.some((n) => n < 0)) {
    throw new RangeError(`Expected ${length} elements for "${name}" of shape [${shape}] but received ${data.length}`);
  }
  return new Uint8Array(data.buffer, data.byteOffset, length * bytes);
}

/** The numbers of a tensor: a view of the bytes where they are aligned, else a copy. */
export function toTypedArray(dtype: Dtype, bytes: Uint8Array): StoredArray {
  const { array, bytes: size } = dtypes[dtype];
  const aligned = bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes); // Buffer.slice would not copy
  const length = bytes.byteLength / size;
  if (dtype === 'F16' || dtype === 'BF16') {
    const words = new Uint16Array(aligned.buffer, aligned.byteOffset, length);
    return dtype === 'BF16' ? widenBfloat16(words) : Float32Array.from(words, halfToNumber);
  }
  return new array(aligned.buffer as ArrayBuffer, aligned.byteOffset, length);
}

/** bfloat16 is the upper half of a float32. */
function widenBfloat16(words: Uint16Array): Float32Array {
  const out = new Uint32Array(words.length);
  for (let i = 0; i < words.length; i++) out[i] = words[i]! << 16;
  return new Float32Array(out.buffer);
}

/** IEEE 754 binary16: sign, 5 bits of exponent, 10 bits of fraction. */
function halfToNumber(word: number): number {
  const sign = word & 0x8000 ? -1 : 1;
  const exponent = (word >> 10) & 0x1f;
  const fraction = word & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}
