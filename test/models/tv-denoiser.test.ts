import { describe, expect, it } from 'vitest';
import { addGaussianNoise, deadLeaves, plane } from '../../src/data/index.js';
import { psnr } from '../../src/metrics/index.js';
import { bestLambda, denoiseWithTV, lambdaForNoise } from '../../src/models/tvlayers/index.js';
import { memory, tensor } from '../../src/tensor/index.js';
import { prox2d, rof } from '../../src/tv/index.js';

const clean = deadLeaves({ height: 64, width: 72, channels: 3, seed: 2 });
const noisy = addGaussianNoise(clean, 25 / 255, 1);

describe('denoiseWithTV', () => {
  it.each([
    [false, prox2d],
    [true, rof],
  ] as const)('solves each channel by itself (isotropic: %s)', (isotropic, solve) => {
    const { image, sigma } = denoiseWithTV(noisy, { lambda: 0.06, isotropic, tolerance: 1e-6 });
    expect(sigma).toBeNull();
    for (let c = 0; c < 3; c++) {
      const wanted = solve(tensor(plane(noisy, c), { shape: [64, 72] }), 0.06, { tolerance: 1e-6 }).toTypedArray();
      expect(Math.max(...plane(image, c).map((v, i) => Math.abs(v - wanted[i]!)))).toBeLessThan(1e-6);
    }
  });

  it.each([false, true])('comes within half a decibel of the best single lambda without knowing the noise (isotropic: %s)', (isotropic) => {
    for (const level of [15, 25, 50]) {
      const pairs = [11, 12, 13].map((seed) => {
        const picture = deadLeaves({ height: 96, width: 96, seed });
        return { clean: picture, noisy: addGaussianNoise(picture, level / 255, seed) };
      });
      const best = bestLambda(pairs, { isotropic, limits: [0.005, 0.5] });
      const automatic = pairs.map((pair) => psnr(denoiseWithTV(pair.noisy, { isotropic }).image, pair.clean));
      expect(automatic.reduce((s, v) => s + v, 0) / 3).toBeGreaterThan(best.psnr - 0.5);
    }
  });

  it('keeps no memory', () => {
    denoiseWithTV(noisy);
    const { tensors, bytes } = memory();
    for (let i = 0; i < 3; i++) denoiseWithTV(noisy);
    expect(memory()).toMatchObject({ tensors, bytes });
  });
});

describe('lambdaForNoise', () => {
  it('is 0 without noise, grows with it, and refuses what is no level', () => {
    expect(lambdaForNoise(0)).toBe(0);
    expect(lambdaForNoise(0.2)).toBeGreaterThan(lambdaForNoise(0.1));
    expect(lambdaForNoise(0.1, true)).toBeGreaterThan(lambdaForNoise(0.1));
    for (const sigma of [-1, NaN, Infinity]) expect(() => lambdaForNoise(sigma)).toThrow('for sigma but received');
  });
});

describe('bestLambda', () => {
  it('finds the peak: 10 % more or less are not better', () => {
    const pairs = [{ clean, noisy }];
    const { lambda, psnr: best } = bestLambda(pairs);
    for (const factor of [0.9, 1.1]) {
      expect(psnr(denoiseWithTV(noisy, { lambda: factor * lambda, tolerance: 1e-3 }).image, clean)).toBeLessThan(best + 1e-6);
    }
    expect(() => bestLambda([])).toThrow('Expected at least one pair');
  });
});
