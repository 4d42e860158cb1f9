/** Tensors: dense, row-major, reference-counted native memory. */
import { addon, DEVICE_INDEX, type DeviceName, device, kernels, requireDevice } from '../backend/index.js';
import { checkDType, DTYPE_ARRAY, DTYPE_BYTES, DTYPE_CODE, type DType, dtypeOf, type TypedArray } from './dtype.js';
import { adopt } from './scope.js';
import { checkShape, formatShape, type Shape, sameShape, sizeOf } from './shape.js';
import { Storage } from './storage.js';

/** Disposed by the garbage collector instead of by the program. */
let leakedTensors = 0;
let liveTensors = 0;

const registry = new FinalizationRegistry<Storage>((storage) => {
  leakedTensors++;
  liveTensors--;
  storage.release();
});

/**
 * A dense array of numbers on a device. Inside `grad`, `jvp` and the like, values of the same class stand for tensors being
 * differentiated: they have a dtype and a shape, but no data.
 */
export class Tensor {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly size: number;
  readonly device: DeviceName;
  #storage: Storage | undefined;

  /** @internal Takes over one reference of `storage`; tracers have none. */
  constructor(dtype: DType, shape: Shape, storage: Storage | undefined, tracked = true) {
    this.dtype = dtype;
    this.shape = shape;
    this.size = sizeOf(shape);
    this.#storage = storage;
    this.device = storage?.device ?? device();
    if (storage === undefined) return;
    liveTensors++;
    if (tracked && !adopt(this)) registry.register(this, storage, this);
  }

  /**
   * A tensor over the caller's typed array, without a copy: writes on either side are seen on the other. The buffer must not be resized or
   * transferred while the tensor lives. While the GPU is the current device, the tensor holds a copy there instead.
   */
  static from(data: TypedArray, shape: Shape = [data.length]): Tensor {
    const dtype = dtypeOf(data);
    if (dtype === undefined) {
      throw new TypeError(`Expected a Float32Array, Float64Array, Int32Array or Uint8Array for data but received ${describe(data)}`);
    }
    checkShape(shape);
    if (sizeOf(shape) !== data.length) {
      throw new RangeError(`Expected ${sizeOf(shape)} elements for shape ${formatShape(shape)} but received ${data.length}`);
    }
    const host = Storage.borrow(data);
    if (device() === 'cpu') return new Tensor(dtype, [...shape], host);
    const result = Tensor.empty(dtype, [...shape]);
    if (result.size > 0) addon.copy(result.address, host.address, host.byteLength);
    return result;
  }

  /** @internal An uninitialised tensor. */
  static empty(dtype: DType, shape: Shape, on?: DeviceName): Tensor {
    return new Tensor(dtype, shape, Storage.allocate(sizeOf(shape) * DTYPE_BYTES[dtype], on));
  }

  /** This tensor's values on a device: a copy, or a second handle on the same memory when they already lie there. */
  to(name: DeviceName): Tensor {
    if (name === this.device) return this.own();
    if (name !== 'cpu' && name !== 'cuda') throw new TypeError(`Expected 'cpu' or 'cuda' for device but received ${String(name)}`);
    requireDevice(name);
    const result = Tensor.empty(this.dtype, this.shape, name);
    if (this.size > 0) addon.copy(result.address, this.address, this.storage.byteLength);
    return result;
  }

  get rank(): number {
    return this.shape.length;
  }

  /** @internal */
  get storage(): Storage {
    if (this.#storage === undefined)
      throw new Error(`Expected a live tensor but received one that was disposed (shape ${formatShape(this.shape)})`);
    return this.#storage;
  }

  /** @internal Address of the first element. */
  get address(): number {
    return this.storage.address;
  }

  /** True once the memory was given back. */
  get disposed(): boolean {
    return this.#storage === undefined;
  }

  /** Overwrites the elements of this tensor, in place, with those of a tensor of the same dtype and shape. */
  assign(source: Tensor): void {
    if (source.dtype !== this.dtype || !sameShape(source.shape, this.shape)) {
      throw new RangeError(
        `Expected ${this.dtype} ${formatShape(this.shape)} for source but received ${source.dtype} ${formatShape(source.shape)}`,
      );
    }
    if (this.size > 0) addon.copy(this.address, source.address, this.size * DTYPE_BYTES[this.dtype]);
  }

  /** @internal A second handle on the same memory, outside every scope: its holder disposes it. */
  alias(shape: Shape = this.shape): Tensor {
    return new Tensor(this.dtype, shape, this.storage.retain(), false);
  }

  /** @internal The same memory under another shape of equal size, owned by the current scope. */
  reshaped(shape: Shape): Tensor {
    return new Tensor(this.dtype, shape, this.storage.retain());
  }

  /** @internal A second handle on the same memory, owned by the current scope. */
  own(): Tensor {
    return this.reshaped(this.shape);
  }

  /** Gives the memory back (when no other tensor shares it). Disposing twice is allowed; any other use afterwards throws. */
  dispose(): void {
    const storage = this.#storage;
    if (storage === undefined) return;
    this.#storage = undefined;
    liveTensors--;
    registry.unregister(this);
    storage.release();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal */
  leaveScopes(): void {
    registry.register(this, this.storage, this);
  }

  /**
   * The elements as a typed array over the tensor's memory: no copy, row-major. It stays valid after the tensor is disposed.
   * From the GPU the elements are copied, and the call waits for them.
   */
  dataSync(): TypedArray {
    if (this.device !== 'cpu') return this.toTypedArray();
    const { buffer, byteOffset } = this.storage.view();
    return new DTYPE_ARRAY[this.dtype](buffer as ArrayBuffer, byteOffset, this.size);
  }

  /** The elements, without blocking the event loop on devices that compute asynchronously. */
  async data(): Promise<TypedArray> {
    if (this.device === 'cpu' || this.size === 0) return this.dataSync();
    const held = this.alias(); // until the copy has been made, whatever the caller does with this tensor
    try {
      return await addon.download(new DTYPE_ARRAY[this.dtype](this.size), held.address, held.storage.byteLength);
    } finally {
      held.dispose();
    }
  }

  /** The elements as a typed array of its own memory. */
  toTypedArray(): TypedArray {
    const array = new DTYPE_ARRAY[this.dtype](this.size);
    if (this.size > 0) addon.copy(addon.addressOf(array), this.address, array.byteLength);
    return array;
  }

  /** The elements as nested arrays; a number for rank 0. */
  toArray(): unknown {
    const data = this.toTypedArray();
    let at = 0;
    const nest = (axis: number): unknown =>
      axis === this.rank ? data[at++] : Array.from({ length: this.shape[axis] as number }, () => nest(axis + 1));
    return nest(0);
  }

  /**
   * The value of a tensor with one element.
   * @throws RangeError for any other size.
   */
  item(): number {
    if (this.size !== 1)
      throw new RangeError(`Expected a tensor with one element for item() but received shape ${formatShape(this.shape)}`);
    // A pooled view costs more than reading one number through a fresh array.
    const array = new DTYPE_ARRAY[this.dtype](1);
    addon.copy(addon.addressOf(array), this.address, array.byteLength);
    return array[0] as number;
  }

  toString(): string {
    return `Tensor(${this.dtype}, ${formatShape(this.shape)}${this.disposed ? ', disposed' : ''})`;
  }
}

/** Numbers, nested arrays of numbers, or a typed array. */
export type TensorData = number | readonly TensorData[] | TypedArray;

function describe(value: unknown): string {
  if (value === null) return 'null';
  if (typeof value === 'object') return value.constructor?.name ?? 'an object';
  return typeof value === 'string' ? `'${value}'` : String(value);
}

function flattenInto(data: TensorData, out: number[], shape: number[], depth: number): void {
  if (typeof data === 'number') {
    if (depth !== shape.length) throw new RangeError('Expected nested arrays of equal lengths for data but received a ragged one');
    out.push(data);
    return;
  }
  if (!Array.isArray(data)) throw new TypeError(`Expected numbers or nested arrays of numbers for data but received ${describe(data)}`);
  if (depth === shape.length) throw new RangeError('Expected nested arrays of equal lengths for data but received a ragged one');
  if (data.length !== shape[depth]) throw new RangeError('Expected nested arrays of equal lengths for data but received a ragged one');
  for (const item of data) flattenInto(item, out, shape, depth + 1);
}

/**
 * A tensor that owns a copy of `data`.
 * @param data a number, nested arrays of equal lengths, or a typed array
 * @param options `shape` (default: that of the data), `dtype` (default: float32, or the typed array's)
 */
export function tensor(data: TensorData, options: { shape?: Shape; dtype?: DType } = {}): Tensor {
  const source = dtypeOf(data);
  const dtype = checkDType(options.dtype ?? source ?? 'float32');
  let shape: Shape;
  let values: ArrayLike<number>;
  if (source !== undefined) {
    values = data as TypedArray;
    shape = [values.length];
  } else {
    const inferred: number[] = [];
    for (let level: TensorData | undefined = data; Array.isArray(level); level = level[0]) inferred.push(level.length);
    const flat: number[] = [];
    flattenInto(data, flat, inferred, 0);
    values = flat;
    shape = inferred;
  }
  if (options.shape !== undefined) {
    checkShape(options.shape);
    if (sizeOf(options.shape) !== values.length) {
      throw new RangeError(
        `Expected ${sizeOf(options.shape)} elements for shape ${formatShape(options.shape)} but received ${values.length}`,
      );
    }
    shape = [...options.shape];
  }
  const result = Tensor.empty(dtype, checkShape(shape));
  if (result.size > 0) {
    const staged = dtype === source ? (values as TypedArray) : DTYPE_ARRAY[dtype].from(values);
    addon.copy(result.address, addon.addressOf(staged), result.size * DTYPE_BYTES[dtype]);
  }
  return result;
}

/** A tensor whose elements all equal `value`. */
export function full(shape: Shape, value: number, dtype: DType = 'float32'): Tensor {
  if (typeof value !== 'number') throw new TypeError(`Expected a number for value but received ${describe(value)}`);
  const result = Tensor.empty(checkDType(dtype), [...checkShape(shape)]);
  kernels.fill(DTYPE_CODE[dtype], result.size, value, result.address);
  return result;
}

export function zeros(shape: Shape, dtype: DType = 'float32'): Tensor {
  return full(shape, 0, dtype);
}

export function ones(shape: Shape, dtype: DType = 'float32'): Tensor {
  return full(shape, 1, dtype);
}

/** A tensor of rank 0. */
export function scalar(value: number, dtype: DType = 'float32'): Tensor {
  return full([], value, dtype);
}

/** start, start + step, … below (or above) `stop`. With one argument: 0 … stop - 1. */
export function arange(start: number, stop?: number, step = 1, dtype: DType = 'float32'): Tensor {
  const [from, to] = stop === undefined ? [0, start] : [start, stop];
  if (!Number.isFinite(from) || !Number.isFinite(to) || !Number.isFinite(step) || step === 0) {
    throw new RangeError(`Expected finite bounds and a step other than 0 for arange but received ${from}, ${to}, ${step}`);
  }
  const result = Tensor.empty(checkDType(dtype), [Math.max(0, Math.ceil((to - from) / step))]);
  kernels.arange(DTYPE_CODE[dtype], result.size, from, step, result.address);
  return result;
}

/** What tensors hold at the moment; bytes and blocks are those of one device (default: the current one). */
export interface MemoryInfo {
  /** Tensor handles that were not disposed. */
  tensors: number;
  /** Bytes of native blocks in use, in the whole process. */
  bytes: number;
  /** Native blocks in use, in the whole process. */
  blocks: number;
  /** Bytes that the pool keeps for reuse. */
  cachedBytes: number;
  /** Tensors that the garbage collector had to dispose: each is a missing `dispose`, `using` or `tidy`. */
  leaked: number;
}

export function memory(name: DeviceName = device()): MemoryInfo {
  const native = addon.memory(DEVICE_INDEX[name]);
  return {
    tensors: liveTensors,
    bytes: native.liveBytes,
    blocks: native.liveBlocks,
    cachedBytes: native.cachedBytes,
    leaked: leakedTensors,
  };
}
