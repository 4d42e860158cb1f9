/**
 * Recorded device work. The host runs a function once and the device repeats what it queued; numbers that change from one time to the next
 * (the position of a random stream, a learning rate) lie in memory of the device, where every replay finds new ones.
 */
import { type Address, addon } from './addon.js';
import { DEVICE_INDEX, type DeviceName } from './device.js';

/** Numbers that one recording may hold. */
const CAPACITY = 1 << 14;

interface Effect {
  /** What the host did while the step was recorded, done again before every replay. */
  run(): void;
  /** Takes the host's part back when the recording fails. */
  undo?(): void;
}

let current: Recording | null = null;

/** The recording in progress. */
export function recording(): Recording | null {
  return current;
}

/** Work of one device that can be queued again as a whole. Memory that it names stays where it is until `dispose`. */
export class Recording {
  readonly device: DeviceName;
  readonly #effects: Effect[] = [];
  readonly #numbers = new Float64Array(CAPACITY);
  #used = 0;
  /** The numbers' memory on the device. */
  #block: Address;
  #graph: Address = 0;

  constructor(device: DeviceName) {
    this.device = device;
    this.#block = addon.alloc(DEVICE_INDEX[device], this.#numbers.byteLength);
    if (this.#block === 0) throw new RangeError(`Out of memory on the GPU: ${this.#numbers.byteLength} bytes could not be allocated`);
  }

  /**
   * Records the device work of `body` and runs it once. When `body` throws, or asks for something that cannot be recorded, nothing is kept
   * and nothing has run.
   */
  record<T>(body: () => T): T {
    addon.captureBegin(DEVICE_INDEX[this.device]);
    current = this;
    let result: T;
    try {
      result = body();
    } catch (error) {
      current = null;
      addon.captureEnd(DEVICE_INDEX[this.device], false);
      this.#undo();
      throw error;
    }
    current = null;
    try {
      this.#graph = addon.captureEnd(DEVICE_INDEX[this.device], true);
      this.#launch();
    } catch (error) {
      this.#undo();
      throw error;
    }
    return result;
  }

  /** Runs the work once more, after what the host has to do for it. */
  replay(): void {
    for (const { run } of this.#effects) run();
    this.#launch();
  }

  /** While recording: something that the host did and has to do again for every replay. */
  onReplay(effect: Effect): void {
    this.#effects.push(effect);
  }

  /**
   * While recording: float64 numbers in memory of the device. `write` sets them, now and before every replay.
   * @returns their address on the device
   */
  numbers(count: number, write: (into: Float64Array, address: Address) => void): Address {
    if (this.#used + count > CAPACITY) {
      throw new RangeError(`Expected at most ${CAPACITY} changing numbers in a captured step but received more`);
    }
    const into = this.#numbers.subarray(this.#used, this.#used + count);
    const address = this.#block + this.#used * Float64Array.BYTES_PER_ELEMENT;
    this.#used += count;
    const at = addon.addressOf(into);
    const run = (): void => write(into, at);
    run();
    this.#effects.push({ run });
    return address;
  }

  /** Frees the recording; the memory that it named can be used again. */
  dispose(): void {
    if (this.#graph !== 0) addon.graphDestroy(this.#graph);
    if (this.#block !== 0) addon.release(this.#block);
    this.#graph = this.#block = 0;
  }

  #launch(): void {
    if (this.#used > 0) addon.copy(this.#block, addon.addressOf(this.#numbers), this.#used * Float64Array.BYTES_PER_ELEMENT);
    addon.graphLaunch(this.#graph);
  }

  #undo(): void {
    for (const { undo } of this.#effects.reverse()) undo?.();
    this.dispose();
  }
}
