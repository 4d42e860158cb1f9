import { type Image, plane } from '../data/image.js';

/** High-pass filter of the Daubechies wavelet with two vanishing moments, so that brightness ramps leave no trace. */
const highPass = daubechies2HighPass();

function daubechies2HighPass(): readonly number[] {
  const s = Math.sqrt(3);
  const low = [1 - s, 3 - s, 3 + s, 1 + s].map((v) => v / (4 * Math.SQRT2));
  return [-low[3]!, low[2]!, -low[1]!, low[0]!];
}

/** The third quartile of the standard normal distribution: the median of |n| for unit normal noise. */
const normalQuartile = 0.6744897501960817;

/**
 * Standard deviation of additive white Gaussian noise, per channel: the median magnitude of the finest diagonal wavelet
 * coefficients over 0.6745 (Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 1994).
 * Edges and textures are outliers to the median; strong fine texture still reads as noise, and clipped noise reads low.
 * Coefficients of exactly zero (clipped or flat parts) are left out, unless nothing else is there.
 *
 * @returns in units of the image's values; the same definition as scikit-image's `estimate_sigma`
 * @throws RangeError for an image narrower than two pixels
 */
export function estimateNoisePerChannel(image: Image): number[] {
  const { height, width, channels } = image;
  if (height < 2 || width < 2) {
    throw new RangeError(`Expected an image of at least 2x2 pixels for a noise estimate but received ${height}x${width}`);
  }
  return Array.from({ length: channels }, (_, c) => {
    const magnitudes = diagonalDetail(plane(image, c), height, width)
      .filter((v) => v !== 0)
      .map(Math.abs);
    return magnitudes.length === 0 ? 0 : median(magnitudes) / normalQuartile;
  });
}

/** The mean over the channels of `estimateNoisePerChannel`. */
export function estimateNoise(image: Image): number {
  const sigmas = estimateNoisePerChannel(image);
  return sigmas.reduce((sum, s) => sum + s, 0) / sigmas.length;
}

/** Finest diagonal detail of the decimated transform, with half-sample symmetric borders. */
function diagonalDetail(samples: Float32Array, height: number, width: number): Float64Array {
  const rows = Math.floor((height + 3) / 2);
  const columns = Math.floor((width + 3) / 2);
  const partial = new Float64Array(height * columns);
  for (let y = 0; y < height; y++) {
    for (let i = 0; i < columns; i++) {
      let sum = 0;
      for (let k = 0; k < 4; k++) sum += highPass[k]! * samples[y * width + mirror(2 * i + 1 - k, width)]!;
      partial[y * columns + i] = sum;
    }
  }
  const out = new Float64Array(rows * columns);
  for (let j = 0; j < rows; j++) {
    for (let i = 0; i < columns; i++) {
      let sum = 0;
      for (let k = 0; k < 4; k++) sum += highPass[k]! * partial[mirror(2 * j + 1 - k, height) * columns + i]!;
      out[j * columns + i] = sum;
    }
  }
  return out;
}

/** Index under reflection about the outer edges of the first and last sample: … 1 0 | 0 1 … */
function mirror(index: number, length: number): number {
  const period = 2 * length;
  const i = ((index % period) + period) % period;
  return i < length ? i : period - 1 - i;
}

function median(values: Float64Array): number {
  const sorted = values.sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
