/** Initialisers. */
import { defaultGenerator, type Generator, type Tensor } from '../tensor/index.js';

/** Uniform in ±sqrt(6 / ((1 + a²) fan_in)), He et al. 2015; a = sqrt(5) gives ±1 / sqrt(fan_in). */
export function kaimingUniform(shape: readonly number[], options: { a?: number; generator?: Generator } = {}): Tensor {
  const bound = Math.sqrt(6 / ((1 + (options.a ?? 0) ** 2) * fanIn(shape)));
  return (options.generator ?? defaultGenerator).uniform(shape, { low: -bound, high: bound });
}

/** Normal with standard deviation sqrt(2 / fan_in), He et al. 2015: keeps the variance through ReLU layers. */
export function kaimingNormal(shape: readonly number[], options: { gain?: number; generator?: Generator } = {}): Tensor {
  return (options.generator ?? defaultGenerator).normal(shape, { std: (options.gain ?? Math.SQRT2) / Math.sqrt(fanIn(shape)) });
}

/** Inputs per output of a weight [out, in, ...kernel]. */
function fanIn(shape: readonly number[]): number {
  return Math.max(
    1,
    shape.slice(1).reduce((a, b) => a * b, 1),
  );
}
