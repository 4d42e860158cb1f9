/** Nearest-neighbour and bilinear resizing of the last two axes: per axis a gather, so the adjoints are exact. */
import { formatShape, type Tensor, tensor, tidy } from '../tensor/index.js';
import { reshape } from './broadcast.js';
import { checkFloat } from './common.js';
import { add, mul } from './elementwise.js';
import { gather } from './gather.js';

export interface ResizeOptions {
  /** New height and width. */
  size: readonly [number, number];
  mode?: 'nearest' | 'bilinear';
  /** Corner pixels keep their places (bilinear only). Default false: pixels are areas, as in PyTorch and OpenCV. */
  alignCorners?: boolean;
}

/** Resizes without a low-pass filter. Default mode: bilinear. */
export function resize2d(x: Tensor, options: ResizeOptions): Tensor {
  return tidy(() => {
    checkFloat(x);
    const { size, mode = 'bilinear', alignCorners = false } = options;
    if (x.rank < 2 || x.size === 0)
      throw new RangeError(`Expected at least one pixel and two axes for x but received shape ${formatShape(x.shape)}`);
    if (!Array.isArray(size) || size.length !== 2 || !size.every((n) => Number.isInteger(n) && n >= 1)) {
      throw new RangeError(`Expected two integers >= 1 for size but received ${JSON.stringify(size)}`);
    }
    if (mode !== 'nearest' && mode !== 'bilinear')
      throw new TypeError(`Expected 'nearest' or 'bilinear' for mode but received ${String(mode)}`);
    let y = x;
    for (const [axis, n] of [
      [x.rank - 2, size[0]],
      [x.rank - 1, size[1]],
    ] as const) {
      if (y.shape[axis] !== n) y = mode === 'nearest' ? nearest(y, axis, n) : linear(y, axis, n, alignCorners);
    }
    return y;
  });
}

function nearest(x: Tensor, axis: number, n: number): Tensor {
  const from = x.shape[axis] as number;
  return gather(
    x,
    Int32Array.from({ length: n }, (_, i) => Math.min(from - 1, Math.floor((i * from) / n))),
    axis,
  );
}

function linear(x: Tensor, axis: number, n: number, alignCorners: boolean): Tensor {
  const from = x.shape[axis] as number;
  const low = new Int32Array(n);
  const high = new Int32Array(n);
  const weight = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    const place = alignCorners ? (n === 1 ? 0 : (i * (from - 1)) / (n - 1)) : ((i + 0.5) * from) / n - 0.5;
    const inside = Math.min(from - 1, Math.max(0, place));
    low[i] = Math.min(from - 1, Math.floor(inside));
    high[i] = Math.min(from - 1, (low[i] as number) + 1);
    weight[i] = inside - (low[i] as number);
  }
  const along = (values: Float64Array): Tensor =>
    reshape(tensor(values, { dtype: x.dtype }), [n, ...new Array<number>(x.rank - 1 - axis).fill(1)]);
  return add(mul(gather(x, low, axis), along(weight.map((w) => 1 - w))), mul(gather(x, high, axis), along(weight)));
}
