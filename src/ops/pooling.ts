/** Pooling over windows of the last two axes. */
import { formatShape, type Tensor, tidy } from '../tensor/index.js';
import { checkFloat } from './common.js';
import type { PerAxis } from './conv.js';
import { add, div, maximum } from './elementwise.js';
import { pad, slice } from './movement.js';

export interface PoolOptions {
  size: PerAxis;
  /** Default: the window's size. */
  stride?: PerAxis;
  /** Pixels around the image, at most half the window; they never win a maximum, and count as zeros in an average. Default 0. */
  padding?: PerAxis;
}

function pair(value: PerAxis | undefined, fallback: readonly number[], low: number, name: string): [number, number] {
  const list = value === undefined ? [...fallback] : typeof value === 'number' ? [value, value] : [...value];
  if (list.length !== 2 || !list.every((n) => Number.isInteger(n) && n >= low)) {
    throw new RangeError(`Expected an integer >= ${low}, or two of them, for ${name} but received ${JSON.stringify(value)}`);
  }
  return list as [number, number];
}

/** Combines the window's pixels, one shifted view after the other. */
function pool(x: Tensor, options: PoolOptions, outside: number, combine: (a: Tensor, b: Tensor) => Tensor): { y: Tensor; count: number } {
  checkFloat(x);
  const size = pair(options.size, [], 1, 'size');
  const stride = pair(options.stride, size, 1, 'stride');
  const padding = pair(options.padding, [0, 0], 0, 'padding');
  if (padding.some((p, i) => 2 * p > (size[i] as number)))
    throw new RangeError(`Expected padding of at most half the window [${size}] but received [${padding}]`);
  if (x.rank < 2) throw new RangeError(`Expected at least two axes for x but received shape ${formatShape(x.shape)}`);
  const lead = x.shape.slice(0, -2);
  const framed = padding.every((p) => p === 0)
    ? x
    : pad(x, [...lead.map((): [number, number] => [0, 0]), [padding[0], padding[0]], [padding[1], padding[1]]], { value: outside });
  const out = size.map((k, i) => Math.floor(((framed.shape[lead.length + i] as number) - k) / (stride[i] as number)) + 1);
  if (!out.every((n) => n >= 1))
    throw new RangeError(`Expected an image at least as large as the window [${size}] but received shape ${formatShape(x.shape)}`);
  let y: Tensor | undefined;
  for (let a = 0; a < size[0]; a++) {
    for (let b = 0; b < size[1]; b++) {
      const view = slice(framed, [...lead.map(() => 0), a, b], [...lead, ...out], [...lead.map(() => 1), ...stride]);
      y = y === undefined ? view : combine(y, view);
    }
  }
  return { y: y as Tensor, count: size[0] * size[1] };
}

/** The largest value of each window. At a tie the derivative is shared. */
export function maxPool2d(x: Tensor, options: PoolOptions): Tensor {
  return tidy(() => {
    return pool(x, options, Number.NEGATIVE_INFINITY, maximum).y;
  });
}

/** The mean of each window. */
export function averagePool2d(x: Tensor, options: PoolOptions): Tensor {
  return tidy(() => {
    const { y, count } = pool(x, options, 0, add);
    return div(y, count);
  });
}
