/** Many tensors as the operands of one native call. */
import { type Address, addon, type DeviceName, kernels } from '../backend/index.js';
import { DTYPE_CODE, Tensor } from '../tensor/index.js';

/** One tensor's row; the tensors that a kernel does not name may be left out. */
export interface Part {
  /** Changed in place. */
  value?: Tensor | undefined;
  source?: Tensor | undefined;
  first?: Tensor | undefined;
  second?: Tensor | undefined;
  /** Which row of the call's rates. Default 0. */
  group?: number;
}

const addressOf = (t: Tensor | undefined): Address => t?.address ?? 0;

/** The rows of a call, kept from one call to the next. */
export class PartTable {
  readonly parts: kernels.Parts;
  // Its address stays good as long as the array is reachable.
  readonly #rows: Float64Array;

  constructor(count: number) {
    this.#rows = new Float64Array(count * kernels.PART_NUMBERS);
    this.parts = { count, rows: addon.addressOf(this.#rows) };
  }

  /** @param like has the row's dtype and size */
  set(row: number, like: Tensor, { value, source, first, second, group = 0 }: Part): void {
    let at = row * kernels.PART_NUMBERS;
    this.#rows[at++] = DTYPE_CODE[like.dtype];
    this.#rows[at++] = like.size;
    this.#rows[at++] = group;
    this.#rows[at++] = addressOf(value);
    this.#rows[at++] = addressOf(source);
    this.#rows[at++] = addressOf(first);
    this.#rows[at] = addressOf(second);
  }
}

/** Calls `body` with the numbers in memory of a device. */
export function withNumbersOn(device: DeviceName, numbers: Float64Array, body: (address: Address) => void): void {
  const host = addon.addressOf(numbers);
  if (device === 'cpu') {
    body(host);
    return;
  }
  const copy = Tensor.empty('float64', [numbers.length], device);
  addon.copy(copy.address, host, numbers.byteLength);
  body(copy.address);
  // What was queued still reads it: the pool gives it to later work only.
  copy.dispose();
}
