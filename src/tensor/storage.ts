/** Reference-counted memory behind tensors: a block of the native pool, or a borrowed typed array. */
import { type Address, addon } from '../backend/index.js';
import type { TypedArray } from './dtype.js';

export class Storage {
  readonly byteLength: number;
  /** Set when the memory is the caller's: this reference keeps it reachable. */
  readonly #borrowed: TypedArray | undefined;
  #address: Address;
  #references = 1;
  #buffer: ArrayBuffer | undefined;

  private constructor(address: Address, byteLength: number, borrowed: TypedArray | undefined) {
    this.#address = address;
    this.byteLength = byteLength;
    this.#borrowed = borrowed;
  }

  static allocate(byteLength: number): Storage {
    const address = addon.alloc(byteLength);
    if (address === 0) {
      throw new RangeError(`Out of memory: ${byteLength} bytes could not be allocated (${addon.memory().liveBytes} bytes are in use)`);
    }
    return new Storage(address, byteLength, undefined);
  }

  static borrow(array: TypedArray): Storage {
    const buffer = array.buffer as ArrayBuffer & { resizable?: boolean };
    if (buffer.resizable === true) throw new TypeError('Expected a buffer of fixed length for data but received a resizable one');
    return new Storage(addon.addressOf(array), array.byteLength, array);
  }

  get address(): Address {
    if (this.#references === 0) throw new Error('Expected a live tensor but received one that was disposed');
    // A buffer that was transferred away leaves its view with length 0.
    if (this.#borrowed !== undefined && this.#borrowed.byteLength !== this.byteLength) {
      throw new Error('Expected the borrowed typed array to keep its memory but its buffer was transferred or detached');
    }
    return this.#address;
  }

  /** The bytes as an ArrayBuffer (and the offset in it), without a copy. */
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
