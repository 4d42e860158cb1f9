/** Reference-counted memory behind tensors: a block of a device's pool, or a borrowed typed array. */
import { type Address, addon, DEVICE_INDEX, type DeviceName, device } from '../backend/index.js';
import type { TypedArray } from './dtype.js';

export class Storage {
  readonly byteLength: number;
  readonly device: DeviceName;
  /** Set when the memory is the caller's: this reference keeps it reachable. */
  readonly #borrowed: TypedArray | undefined;
  #address: Address;
  #references = 1;
  #buffer: ArrayBuffer | undefined;

  private constructor(on: DeviceName, address: Address, byteLength: number, borrowed: TypedArray | undefined) {
    this.device = on;
    this.#address = address;
    this.byteLength = byteLength;
    this.#borrowed = borrowed;
  }

  static allocate(byteLength: number, on: DeviceName = device()): Storage {
    const address = addon.alloc(DEVICE_INDEX[on], byteLength);
    if (address === 0) {
      const { liveBytes } = addon.memory(DEVICE_INDEX[on]);
      const where = on === 'cpu' ? '' : ' on the GPU';
      throw new RangeError(`Out of memory${where}: ${byteLength} bytes could not be allocated (${liveBytes} bytes are in use)`);
    }
    return new Storage(on, address, byteLength, undefined);
  }

  static borrow(array: TypedArray): Storage {
    const buffer = array.buffer as ArrayBuffer & { resizable?: boolean };
    if (buffer.resizable === true) throw new TypeError('Expected a buffer of fixed length for data but received a resizable one');
    return new Storage('cpu', addon.addressOf(array), array.byteLength, array);
  }

  get address(): Address {
    if (this.#references === 0) throw new Error('Expected a live tensor but received one that was disposed');
    // A buffer that was transferred away leaves its view with length 0.
    if (this.#borrowed !== undefined && this.#borrowed.byteLength !== this.byteLength) {
      throw new Error('Expected the borrowed typed array to keep its memory but its buffer was transferred or detached');
    }
    return this.#address;
  }

  /** The bytes as an ArrayBuffer (and the offset in it), without a copy. Only memory of the CPU has one. */
  view(): { buffer: ArrayBufferLike; byteOffset: number } {
    const address = this.address;
    if (this.#borrowed !== undefined) return { buffer: this.#borrowed.buffer, byteOffset: this.#borrowed.byteOffset };
    this.#buffer ??= addon.view(address, this.byteLength);
    return { buffer: this.#buffer, byteOffset: 0 };
  }

  retain(): this {
    this.#references++;
    return this;
  }

  release(): void {
    if (--this.#references > 0) return;
    if (this.#borrowed === undefined) addon.release(this.#address);
    this.#buffer = undefined;
  }
}
