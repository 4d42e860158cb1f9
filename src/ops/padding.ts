/** Padding by the image's own values: each mode is a gather, so its adjoint is exact. */
import { checkAxis, type Tensor, tensor, tidy } from '../tensor/index.js';
import { checkTensor } from './common.js';
import { gather } from './gather.js';
import { pad } from './movement.js';

/** What lies outside: zeros; the border value (a|abc|c); the mirror image with the border (ba|abc|cb) or without it (cb|abc|ba); the other end. */
export type PaddingMode = 'zero' | 'replicate' | 'symmetric' | 'reflect' | 'circular';

/** The sample that stands at position i of the extended line. */
const source: Record<Exclude<PaddingMode, 'zero'>, (i: number, n: number) => number> = {
  replicate: (i, n) => Math.min(n - 1, Math.max(0, i)),
  circular: (i, n) => ((i % n) + n) % n,
  symmetric: (i, n) => {
    const k = ((i % (2 * n)) + 2 * n) % (2 * n);
    return k < n ? k : 2 * n - 1 - k;
  },
  reflect: (i, n) => {
    if (n === 1) return 0;
    const k = ((i % (2 * n - 2)) + 2 * n - 2) % (2 * n - 2);
    return k < n ? k : 2 * n - 2 - k;
  },
};

/**
 * Extends the last axes of `x`.
 * @param widths [before, after] for each of the last axes (so [[1, 1], [2, 2]] pads height by 1 and width by 2), >= 0
 * @param mode 'zero', 'replicate', 'symmetric', 'reflect' or 'circular'; widths may exceed the extent
 */
export function padMode(x: Tensor, widths: readonly (readonly [number, number])[], mode: PaddingMode): Tensor {
  return tidy(() => {
    checkTensor(x);
    if (mode !== 'zero' && !Object.hasOwn(source, mode)) {
      throw new TypeError(`Expected 'zero', 'replicate', 'symmetric', 'reflect' or 'circular' for mode but received ${String(mode)}`);
    }
    if (widths.length > x.rank || !widths.flat().every((n) => Number.isInteger(n) && n >= 0)) {
      throw new RangeError(`Expected at most ${x.rank} pairs of integers >= 0 for widths but received ${JSON.stringify(widths)}`);
    }
    const first = x.rank - widths.length;
    if (mode === 'zero')
      return pad(
        x,
        x.shape.map((_, i) => (i < first ? [0, 0] : (widths[i - first] as [number, number]))),
      );
    let y = x;
    widths.forEach(([before, after], i) => {
      if (before === 0 && after === 0) return;
      const axis = checkAxis(first + i, x.rank);
      const n = x.shape[axis] as number;
      if (n === 0) throw new RangeError(`Expected at least one element along axis ${axis} to pad but received none`);
      const index = Int32Array.from({ length: before + n + after }, (_, k) => source[mode](k - before, n));
      y = gather(y, tensor(index), axis);
    });
    return y;
  });
}
