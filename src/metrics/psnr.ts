import type { Image } from '../data/image.js';

/** Throws unless both images have the same shape. */
export function requireSameShape(a: Image, b: Image): void {
  if (a.channels !== b.channels || a.height !== b.height || a.width !== b.width) {
    throw new RangeError(
      `Expected images of one shape but received ${a.channels}x${a.height}x${a.width} and ${b.channels}x${b.height}x${b.width}`,
    );
  }
}

/** Throws unless `range`, the distance from black to white, is a positive finite number. */
export function requireRange(range: number): void {
  if (!(range > 0 && range < Infinity)) {
    throw new RangeError(`Expected a positive finite number for range but received ${range}`);
  }
}

/** Mean squared difference over all samples, in float64. */
export function mse(a: Image, b: Image): number {
  requireSameShape(a, b);
  let sum = 0;
  for (let i = 0; i < a.data.length; i++) sum += (a.data[i]! - b.data[i]!) ** 2;
  return sum / a.data.length;
}

/**
 * Peak signal-to-noise ratio in decibels, 10 log10(range^2 / mse), over all channels together. Infinity for equal
 * images. Values are taken as they are: clamp or quantise first where a comparison with saved files is meant.
 *
 * @param range distance from black to white; 1 by default
 */
export function psnr(a: Image, b: Image, { range = 1 }: { range?: number } = {}): number {
  requireRange(range);
  return 10 * Math.log10((range * range) / mse(a, b));
}
