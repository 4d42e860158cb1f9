/** Padding by the image's own values: each mode is a gather, so its adjoint, a scatter, is exact. */
import { type Tensor, tidy } from '../tensor/index.js';
import { checkTensor } from './common.js';
import { gather, scatterAdd } from './gather.js';
import { narrow, pad } from './movement.js';

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

/** @throws unless there is at most one pair of widths >= 0 per axis, and a known mode */
function checkPadding(x: Tensor, widths: readonly (readonly [number, number])[], mode: PaddingMode): void {
  checkTensor(x);
  if (mode !== 'zero' && !Object.hasOwn(source, mode)) {
    throw new TypeError(`Expected 'zero', 'replicate', 'symmetric', 'reflect' or 'circular' for mode but received ${String(mode)}`);
  }
  if (widths.length > x.rank || !widths.flat().every((n) => Number.isInteger(n) && n >= 0)) {
    throw new RangeError(`Expected at most ${x.rank} pairs of integers >= 0 for widths but received ${JSON.stringify(widths)}`);
  }
}

/** For each sample of a line of `extent` after padding, the sample that it copies. */
function origins([before, after]: readonly [number, number], extent: number, mode: Exclude<PaddingMode, 'zero'>): Int32Array {
  return Int32Array.from({ length: before + extent + after }, (_, k) => source[mode](k - before, extent));
}

/** One pair per axis of x, zeros for the leading ones. */
const allAxes = (x: Tensor, widths: readonly (readonly [number, number])[]): (readonly [number, number])[] =>
  x.shape.map((_, i) => widths[i - (x.rank - widths.length)] ?? [0, 0]);

/**
 * Extends the last axes of `x`.
 * @param widths [before, after] for each of the last axes (so [[1, 1], [2, 2]] pads height by 1 and width by 2), >= 0
 * @param mode 'zero', 'replicate', 'symmetric', 'reflect' or 'circular'; widths may exceed the extent
 */
export function padMode(x: Tensor, widths: readonly (readonly [number, number])[], mode: PaddingMode): Tensor {
  return tidy(() => {
    checkPadding(x, widths, mode);
    if (mode === 'zero') return pad(x, allAxes(x, widths));
    let y = x;
    allAxes(x, widths).forEach((pair, axis) => {
      if (pair[0] === 0 && pair[1] === 0) return;
      const n = x.shape[axis] as number;
      if (n === 0) throw new RangeError(`Expected at least one element along axis ${axis} to pad but received none`);
      y = gather(y, origins(pair, n, mode), axis);
    });
    return y;
  });
}

/**
 * The adjoint of `padMode`: takes the frame off again, each of its samples added to the one that it was copied from.
 * @param y what `padMode` with the same widths and mode returns: each padded axis has at least one element inside the frame
 */
export function foldMode(y: Tensor, widths: readonly (readonly [number, number])[], mode: PaddingMode): Tensor {
  return tidy(() => {
    checkPadding(y, widths, mode);
    let x = y;
    allAxes(y, widths).forEach((pair, axis) => {
      if (pair[0] === 0 && pair[1] === 0) return;
      const n = (y.shape[axis] as number) - pair[0] - pair[1];
      if (n < 1) throw new RangeError(`Expected at least one element inside the frame along axis ${axis} but received ${n}`);
      x = mode === 'zero' ? narrow(x, axis, pair[0], pair[0] + n) : scatterAdd(x, origins(pair, n, mode), n, axis);
    });
    return x;
  });
}
