/** Large images piece by piece: the activations of a network over megapixels would fill the memory. */
import { crop, type Image, makeImage } from '../../data/index.js';

export interface TileOptions {
  /** Side of the tiles. Default 768. */
  size?: number;
  /** Pixels that neighbouring tiles share; more than twice the reach of the network. Default 64. */
  overlap?: number;
}

/**
 * `apply` on overlapping tiles, blended linearly where they overlap. An image no larger than one tile is passed whole. Networks see
 * only their surroundings, so the blend differs from the whole image's result by what reaches across the overlap; total-variation
 * layers have no strict limit, but their influence fades quickly at the lambdas of denoisers.
 * @param apply keeps the number of channels and the size
 */
export function applyInTiles(apply: (tile: Image) => Image, image: Image, options: TileOptions = {}): Image {
  const { size = 768, overlap = 64 } = options;
  if (!Number.isInteger(size) || !Number.isInteger(overlap) || overlap < 0 || size <= 2 * overlap) {
    throw new RangeError(`Expected integers with size > 2 overlap >= 0 for the tiles but received ${size} and ${overlap}`);
  }
  const { channels, height, width } = image;
  if (height <= size && width <= size) return apply(image);
  const out = makeImage(channels, height, width);
  for (const rows of spans(height, size, overlap)) {
    for (const columns of spans(width, size, overlap)) {
      const tile = apply(crop(image, rows.start, columns.start, rows.weights.length, columns.weights.length));
      for (let c = 0; c < channels; c++) {
        for (const [y, wy] of rows.weights.entries()) {
          const from = (c * tile.height + y) * tile.width;
          const to = (c * height + rows.start + y) * width + columns.start;
          for (let x = 0; x < tile.width; x++) {
            out.data[to + x] = out.data[to + x]! + wy * columns.weights[x]! * tile.data[from + x]!;
          }
        }
      }
    }
  }
  return out;
}

interface Span {
  start: number;
  /** Per pixel; over all spans they sum to 1. */
  weights: Float64Array;
}

/** Equal steps that cover `length`; neighbours share at least `overlap` pixels, over the middle of which one fades into the next. */
function spans(length: number, size: number, overlap: number): Span[] {
  if (length <= size) return [{ start: 0, weights: new Float64Array(length).fill(1) }];
  const count = Math.ceil((length - overlap) / (size - overlap));
  const starts = Array.from({ length: count }, (_, i) => Math.round((i * (length - size)) / (count - 1)));
  return starts.map((start, i) => {
    const weights = new Float64Array(size).fill(1);
    // The outer quarters of a shared stretch belong to one tile alone: a tile's border pixels are its worst.
    const ramp = (shared: number, position: number): number => Math.min(1, Math.max(0, (2 * (position + 0.5)) / shared - 0.5));
    const before = i > 0 ? starts[i - 1]! + size - start : 0;
    const after = i + 1 < count ? start + size - starts[i + 1]! : 0;
    for (let k = 0; k < before; k++) weights[k] = weights[k]! * ramp(before, k);
    for (let k = 0; k < after; k++) weights[size - after + k] = weights[size - after + k]! * (1 - ramp(after, k));
    return { start, weights };
  });
}
