/** The Shepp-Logan head phantom. */
import { type Tensor, tensor } from '../tensor/index.js';
import { checkSize } from './checks.js';

/** Intensity added, half axes, centre, and rotation in degrees, in [-1, 1]²: Shepp and Logan (1974), contrasts of Toft (1996). */
const ELLIPSES: readonly (readonly [number, number, number, number, number, number])[] = [
  [1, 0.69, 0.92, 0, 0, 0],
  [-0.8, 0.6624, 0.874, 0, -0.0184, 0],
  [-0.2, 0.11, 0.31, 0.22, 0, -18],
  [-0.2, 0.16, 0.41, -0.22, 0, 18],
  [0.1, 0.21, 0.25, 0, 0.35, 0],
  [0.1, 0.046, 0.046, 0, 0.1, 0],
  [0.1, 0.046, 0.046, 0, -0.1, 0],
  [0.1, 0.046, 0.023, -0.08, -0.605, 0],
  [0.1, 0.023, 0.023, 0, -0.606, 0],
  [0.1, 0.023, 0.046, 0.06, -0.605, 0],
];

/**
 * The modified Shepp-Logan phantom, values in [0, 1], float32 [height, width].
 * @param size side of a square, or height and width
 * @param options samples: points per pixel and axis that are averaged. Default 1: pixels are point samples on the grid that reaches from
 *   -1 to 1 including both ends, as MATLAB's phantom; more make soft edges, as a scanner sees them.
 */
export function sheppLogan(size: number | readonly [number, number], options: { samples?: number } = {}): Tensor {
  const shape = typeof size === 'number' ? ([size, size] as const) : size;
  checkSize(shape);
  const { samples = 1 } = options;
  if (!Number.isInteger(samples) || samples < 1)
    throw new RangeError(`Expected an integer >= 1 for samples but received ${String(samples)}`);
  const [height, width] = shape;
  const places = (n: number): Float64Array =>
    Float64Array.from({ length: n * samples }, (_, k) => (n === 1 ? 0 : (2 * ((k + 0.5) / samples - 0.5)) / (n - 1) - 1));
  const [rows, columns] = [places(height), places(width)];
  const image = new Float64Array(height * width);
  for (const [value, a, b, x0, y0, degrees] of ELLIPSES) {
    const [c, s] = [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180)];
    rows.forEach((row, i) => {
      const y = -row - y0; // the first row is the top
      columns.forEach((column, j) => {
        const x = column - x0;
        const inside = ((x * c + y * s) / a) ** 2 + ((y * c - x * s) / b) ** 2 <= 1;
        if (inside) image[Math.floor(i / samples) * width + Math.floor(j / samples)]! += value / samples ** 2;
      });
    });
  }
  // The sums of tenths leave roundings of 1e-17 where they should be 0.
  return tensor(
    image.map((value) => (Math.abs(value) < 1e-9 ? 0 : value)),
    { shape: [height, width], dtype: 'float32' },
  );
}
