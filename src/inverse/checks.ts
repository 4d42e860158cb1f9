/** Checks that several operators share. */
import { formatShape, type Shape, sameShape, type Tensor } from '../tensor/index.js';

/** @throws RangeError unless `size` is a height and a width >= 1 */
export function checkSize(size: unknown, name = 'size'): asserts size is readonly [number, number] {
  if (!Array.isArray(size) || size.length !== 2 || !size.every((n) => Number.isInteger(n) && n >= 1)) {
    throw new RangeError(`Expected a height and a width >= 1 for ${name} but received ${JSON.stringify(size) ?? String(size)}`);
  }
}

/** @throws RangeError unless `x` has exactly this shape */
export function checkExactShape(x: Tensor, shape: Shape, name: string): void {
  if (!sameShape(x.shape, shape))
    throw new RangeError(`Expected shape ${formatShape(shape)} for ${name} but received ${formatShape(x.shape)}`);
}
