/** Simulated scanners: coil sensitivities, undersampling masks, noise. */
import { add, type Complex, checkFloat } from '../ops/index.js';
import { Generator, type Tensor, tensor, tidy } from '../tensor/index.js';
import { checkSize } from './checks.js';

/**
 * Sensitivities of `coils` receivers evenly spaced on a circle around the image: a Gaussian fall-off with a phase that turns with the
 * direction to the coil, scaled so that Σ_k |C_k|² = 1 in every pixel. float32 [coils, height, width].
 * @param options distance of the coils from the centre, and width of the fall-off, both in half image sides. Default 1.2 and 0.9.
 */
export function coilSensitivities(
  size: readonly [number, number],
  coils: number,
  options: { distance?: number; width?: number } = {},
): { re: Tensor; im: Tensor } {
  checkSize(size);
  const { distance = 1.2, width: reach = 0.9 } = options;
  if (!Number.isInteger(coils) || coils < 1) throw new RangeError(`Expected an integer >= 1 for coils but received ${String(coils)}`);
  if (!(distance > 0) || !(reach > 0)) {
    throw new RangeError(`Expected numbers > 0 for distance and width but received ${String(distance)} and ${String(reach)}`);
  }
  const [height, width] = size;
  const pixels = height * width;
  const [re, im, power] = [new Float64Array(coils * pixels), new Float64Array(coils * pixels), new Float64Array(pixels)];
  for (let k = 0; k < coils; k++) {
    const direction = (2 * Math.PI * k) / coils;
    const [cx, cy] = [distance * Math.cos(direction), distance * Math.sin(direction)];
    for (let p = 0; p < pixels; p++) {
      const x = (2 * ((p % width) + 0.5)) / width - 1 - cx;
      const y = (2 * (Math.floor(p / width) + 0.5)) / height - 1 - cy;
      const magnitude = Math.exp(-(x * x + y * y) / (2 * reach * reach));
      const phase = Math.atan2(y, x) - direction;
      re[k * pixels + p] = magnitude * Math.cos(phase);
      im[k * pixels + p] = magnitude * Math.sin(phase);
      power[p]! += magnitude * magnitude;
    }
  }
  const scaled = (part: Float64Array): Tensor =>
    tensor(
      part.map((value, i) => value / Math.sqrt(power[i % pixels] as number)),
      { shape: [coils, height, width], dtype: 'float32' },
    );
  return { re: scaled(re), im: scaled(im) } satisfies Complex;
}

export interface MaskOptions {
  /**
   * 'lines' (default): rows of k-space at random, more of them near the middle, around a block of rows that are all kept; 'radial': the
   * pixels on lines through the middle.
   */
  pattern?: 'lines' | 'radial';
  /** How many times fewer samples than a full scan, >= 1 (reached to within a line). Default 4. */
  acceleration?: number;
  /** Share of the rows that are kept around the middle, for 'lines'. Default 0.08. */
  centre?: number;
  /** Default 0. */
  seed?: number;
}

/** A mask of k-space [height, width], uint8, with the zero frequency at [floor(height / 2), floor(width / 2)]. */
export function samplingMask(size: readonly [number, number], options: MaskOptions = {}): Tensor {
  checkSize(size);
  const { pattern = 'lines', acceleration = 4, centre = 0.08, seed = 0 } = options;
  if (pattern !== 'lines' && pattern !== 'radial') {
    throw new TypeError(`Expected 'lines' or 'radial' for pattern but received ${String(pattern)}`);
  }
  if (!(acceleration >= 1 && acceleration < Number.POSITIVE_INFINITY)) {
    throw new RangeError(`Expected a number >= 1 for acceleration but received ${String(acceleration)}`);
  }
  if (!(centre >= 0 && centre <= 1)) throw new RangeError(`Expected a number in [0, 1] for centre but received ${String(centre)}`);
  const mask = pattern === 'lines' ? lines(size, acceleration, centre, seed) : radial(size, acceleration);
  return tensor(mask, { shape: [...size] });
}

function lines([height, width]: readonly [number, number], acceleration: number, centre: number, seed: number): Uint8Array {
  const wanted = Math.max(1, Math.round(height / acceleration));
  const middle = Math.floor(height / 2);
  const block = Math.min(wanted, Math.max(1, Math.round(centre * height)));
  const first = middle - Math.floor(block / 2);
  // Weighted sampling without replacement (Efraimidis and Spirakis 2006): the largest log(u) / weight; weights fall off linearly.
  const draws = tidy(() => new Generator(seed).uniform([height], { dtype: 'float64' }).toTypedArray().slice());
  const keys = Array.from(draws, (u, row) => {
    if (row >= first && row < first + block) return { row, key: Number.POSITIVE_INFINITY };
    const weight = Math.max(0.05, 1 - Math.abs(row - middle) / (height / 2));
    return { row, key: Math.log(u + 1e-300) / weight };
  });
  keys.sort((a, b) => b.key - a.key || a.row - b.row);
  const mask = new Uint8Array(height * width);
  for (const { row } of keys.slice(0, wanted)) mask.fill(1, row * width, (row + 1) * width);
  return mask;
}

/** Spokes at multiples of the golden angle, until there are enough samples: any number of them covers the circle evenly. */
function radial([height, width]: readonly [number, number], acceleration: number): Uint8Array {
  const mask = new Uint8Array(height * width);
  if (acceleration === 1) return mask.fill(1);
  const goal = (height * width) / acceleration;
  const reach = Math.hypot(height, width) / 2;
  const golden = (Math.PI * (Math.sqrt(5) - 1)) / 2;
  const [middleRow, middleColumn] = [Math.floor(height / 2), Math.floor(width / 2)];
  let count = 0;
  for (let k = 0; count < goal; k++) {
    const [c, s] = [Math.cos(golden * k), Math.sin(golden * k)];
    for (let t = -reach; t <= reach; t += 0.5) {
      const [row, column] = [Math.round(middleRow + t * s), Math.round(middleColumn + t * c)];
      if (row < 0 || row >= height || column < 0 || column >= width || mask[row * width + column] === 1) continue;
      mask[row * width + column] = 1;
      count++;
    }
  }
  return mask;
}

/**
 * y + sigma n with standard normal n.
 * @param sigma standard deviation >= 0
 * @param options seed: default 0. Noise also falls where an operator measures nothing: its adjoint takes no notice of it
 */
export function addNoise(y: Tensor, sigma: number, options: { seed?: number } = {}): Tensor {
  checkFloat(y, 'y');
  if (!(sigma >= 0 && sigma < Number.POSITIVE_INFINITY))
    throw new RangeError(`Expected a number >= 0 for sigma but received ${String(sigma)}`);
  return tidy(() => add(y, new Generator(options.seed ?? 0).normal(y.shape, { std: sigma, dtype: y.dtype as 'float32' | 'float64' })));
}
