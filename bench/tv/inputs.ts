/** What the solvers are measured on: fixed seeds, values of about 0 … 1, float64. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { data, Generator, tidy } from 'tautgrad';

/** A unit step in the middle of each line, plus noise: the workload of Yeh et al. 2022. */
export function steps(lines: number, length: number, sigma: number, seed: number): Float64Array {
  const noise = tidy(() => new Generator(seed).normal([lines * length], { std: sigma, dtype: 'float64' }).toTypedArray()) as Float64Array;
  return noise.map((v, i) => v + (i % length >= length / 2 ? 1 : 0));
}

/** Dead leaves (the statistics of natural images) and noise of 25 of 255. */
export function deadLeaves(height: number, width: number, seed: number): Float64Array {
  return noisy(data.deadLeaves({ height, width, channels: 1, seed }), seed + 1);
}

export const noisy = (image: data.Image, seed: number): Float64Array =>
  Float64Array.from(data.addGaussianNoise(image, 25 / 255, seed).data);

/** A photograph of the shared data, gray; null, with a line that says so, where it is absent. */
export async function photo(...path: string[]): Promise<data.Image | null> {
  const file = join(process.env.TAUTGRAD_SHARED ?? resolve('../shared'), 'data', ...path);
  if (!existsSync(file)) {
    console.error(`left out: ${join(...path)} is not in the shared data (TAUTGRAD_SHARED)`);
    return null;
  }
  return data.toChannels((await data.readPicture(file)).image, 1);
}

/** Balls of random greys and noise of 25 of 255. */
export function volume(size: number, seed: number): Float64Array {
  const random = new data.Random(seed);
  const balls = Array.from({ length: 60 }, () => ({
    centre: [0, 0, 0].map(() => random.uniform() * size),
    radius: (0.05 + 0.25 * random.uniform()) * size,
    grey: random.uniform(),
  }));
  const clean = new Float32Array(size ** 3).fill(0.5);
  for (const { centre, radius, grey } of balls) {
    const [a, b, c] = centre as [number, number, number];
    for (let i = 0; i < clean.length; i++) {
      const [z, y, x] = [Math.floor(i / size ** 2), Math.floor(i / size) % size, i % size];
      if ((z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2 < radius ** 2) clean[i] = grey;
    }
  }
  return noisy(data.makeImage(size, size, size, clean), seed + 1);
}
