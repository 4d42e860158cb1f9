import type { Image } from './image.js';
import type { Random } from './random.js';

/**
 * Copies the `size` x `size` square at (top, left) of every channel into `out`, moved by one of the eight symmetries of
 * the square: bit 0 of `symmetry` mirrors left-right, bit 1 top-bottom, bit 2 exchanges rows and columns (applied
 * first). Together they are the flips and quarter turns.
 */
export function copyPatch(image: Image, top: number, left: number, size: number, symmetry: number, out: Float32Array): void {
  const { data, width, height, channels } = image;
  const mirrorX = (symmetry & 1) !== 0;
  const mirrorY = (symmetry & 2) !== 0;
  const transpose = (symmetry & 4) !== 0;
  const stepX = transpose ? width : 1;
  const stepY = transpose ? 1 : width;
  for (let c = 0; c < channels; c++) {
    const corner = (c * height + top) * width + left;
    for (let y = 0; y < size; y++) {
      let from = corner + (mirrorY ? size - 1 - y : y) * stepY + (mirrorX ? (size - 1) * stepX : 0);
      const to = (c * size + y) * size;
      for (let x = 0; x < size; x++) {
        out[to + x] = data[from]!;
        from += mirrorX ? -stepX : stepX;
      }
    }
  }
}

/** Fills `out` (`channels * size * size` samples) with a random square of the image, which must hold one, in a random orientation. */
export function randomPatch(image: Image, size: number, random: Random, out: Float32Array): void {
  const top = random.int(image.height - size + 1);
  const left = random.int(image.width - size + 1);
  copyPatch(image, top, left, size, random.int(8), out);
}
