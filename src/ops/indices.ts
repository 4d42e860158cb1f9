/** Tensors of indices: what kernels read memory by has to be checked. */
import { recording } from '../backend/index.js';
import type { Tensor } from '../tensor/index.js';
import { maximum, minimum } from './elementwise.js';
import { max, min } from './reduce.js';

/**
 * The indices, all of them in [0, extent). Inside a captured step nothing can be read: its first call has looked, and what lies outside in a
 * replay goes to the nearer end.
 * @param what their name: "labels"
 * @throws RangeError
 */
export function indicesWithin(index: Tensor, extent: number, what: string): Tensor {
  if (recording() !== null) return minimum(maximum(index, 0), Math.max(0, extent - 1));
  for (const extreme of index.size > 0 ? [min(index).item(), max(index).item()] : []) {
    if (extreme < 0 || extreme >= extent) throw new RangeError(`Expected ${what} in [0, ${extent - 1}] but received ${extreme}`);
  }
  return index;
}
