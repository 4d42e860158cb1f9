import { type Address, addon } from './addon.js';

/**
 * The way of batches into one block of the GPU's memory: through page-locked memory, on a stream of its own, beside the kernels that run.
 * In this order: `send`, `receive`, kernels that read the block, `done`, and again.
 */
export class Stage {
  readonly #byteLength: number;
  #handle: Address;

  /** @param to the block, which must outlive the stage */
  constructor(to: Address, byteLength: number) {
    this.#byteLength = byteLength;
    this.#handle = addon.stageMake(to, byteLength);
  }

  /** Starts the copy; the array can be changed when the call returns. @throws RangeError when it has another length than the block */
  send(array: ArrayBufferView): void {
    if (array.byteLength !== this.#byteLength) {
      throw new RangeError(`Expected ${this.#byteLength} bytes for the batch but received ${array.byteLength}`);
    }
    addon.stageSend(this.#handle, addon.addressOf(array));
  }

  /** Lets what is queued from now on read the block. */
  receive(): void {
    addon.stageReceive(this.#handle);
  }

  /** Says that nothing queued from now on reads the block: the next copy need not wait for more. */
  done(): void {
    addon.stageDone(this.#handle);
  }

  dispose(): void {
    if (this.#handle !== 0) addon.stageFree(this.#handle);
    this.#handle = 0;
  }
}
