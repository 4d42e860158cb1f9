/** Initialisers: fresh tensors from a weight's shape [out, in, ...kernel]. */
import { defaultGenerator, full, type Generator, Tensor } from '../tensor/index.js';

/** Uniform in ±sqrt(6 / ((1 + a²) fan_in)), He et al. 2015; a = sqrt(5) gives ±1 / sqrt(fan_in). */
export function kaimingUniform(shape: readonly number[], options: { a?: number; generator?: Generator } = {}): Tensor {
  const bound = Math.sqrt(6 / ((1 + (options.a ?? 0) ** 2) * fanIn(shape)));
  return (options.generator ?? defaultGenerator).uniform(shape, { low: -bound, high: bound });
}

/** Normal with standard deviation sqrt(2 / fan_in), He et al. 2015: keeps the variance through ReLU layers. */
export function kaimingNormal(shape: readonly number[], options: { gain?: number; generator?: Generator } = {}): Tensor {
  return (options.generator ?? defaultGenerator).normal(shape, { std: (options.gain ?? Math.SQRT2) / Math.sqrt(fanIn(shape)) });
}

/** Uniform in ±gain · sqrt(6 / (fan_in + fan_out)), Glorot and Bengio 2010: keeps the variance through layers without rectification. */
export function glorotUniform(shape: readonly number[], options: { gain?: number; generator?: Generator } = {}): Tensor {
  const bound = (options.gain ?? 1) * Math.sqrt(6 / (fanIn(shape) + fanOut(shape)));
  return (options.generator ?? defaultGenerator).uniform(shape, { low: -bound, high: bound });
}

/** Normal with standard deviation gain · sqrt(2 / (fan_in + fan_out)), Glorot and Bengio 2010. */
export function glorotNormal(shape: readonly number[], options: { gain?: number; generator?: Generator } = {}): Tensor {
  const std = (options.gain ?? 1) * Math.sqrt(2 / (fanIn(shape) + fanOut(shape)));
  return (options.generator ?? defaultGenerator).normal(shape, { std });
}

/**
 * Orthonormal rows of the matrix [out, rest] (columns where it has more rows), times `gain`: a random rotation, uniformly distributed
 * (Saxe, McClelland and Ganguli 2014).
 */
export function orthogonal(shape: readonly number[], options: { gain?: number; generator?: Generator } = {}): Tensor {
  const { gain = 1, generator = defaultGenerator } = options;
  const [rows, columns] = [shape[0] ?? 1, product(shape.slice(1))];
  const [count, length] = [Math.min(rows, columns), Math.max(rows, columns)];
  const drawn = generator.normal([count, length], { dtype: 'float64' });
  const values = drawn.toTypedArray() as Float64Array;
  drawn.dispose();
  const vectors = Array.from({ length: count }, (_, i) => values.subarray(i * length, (i + 1) * length));
  for (const [i, v] of vectors.entries()) {
    // Twice: once leaves what rounding made of nearly parallel vectors.
    for (let pass = 0; pass < 2; pass++) {
      for (const u of vectors.slice(0, i)) {
        const along = u.reduce((sum, x, k) => sum + x * v[k]!, 0);
        for (let k = 0; k < length; k++) v[k] = v[k]! - along * u[k]!;
      }
      const norm = Math.hypot(...v);
      for (let k = 0; k < length; k++) v[k] = v[k]! / norm;
    }
  }
  const weight = new Float32Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) weight[i * columns + j] = gain * (rows <= columns ? vectors[i]![j]! : vectors[j]![i]!);
  }
  return Tensor.from(weight, [...shape]);
}

/** Normal with the given mean (default 0) and standard deviation (default 0.01). */
export function normal(shape: readonly number[], options: { mean?: number; std?: number; generator?: Generator } = {}): Tensor {
  const { mean = 0, std = 0.01, generator = defaultGenerator } = options;
  if (!(std >= 0)) throw new RangeError(`Expected a number >= 0 for std but received ${String(std)}`);
  return generator.normal(shape, { mean, std });
}

/** All the same. */
export function constant(shape: readonly number[], value = 0): Tensor {
  return full(shape, value);
}

/** Inputs per output of a weight [out, in, ...kernel]. */
function fanIn(shape: readonly number[]): number {
  return Math.max(1, product(shape.slice(1)));
}

/** Outputs per input. */
function fanOut(shape: readonly number[]): number {
  return Math.max(1, (shape[0] ?? 1) * product(shape.slice(2)));
}

function product(values: readonly number[]): number {
  return values.reduce((a, b) => a * b, 1);
}
