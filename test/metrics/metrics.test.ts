import { describe, expect, it } from 'vitest';
import { deadLeaves } from '../../src/data/dead-leaves.js';
import { makeImage } from '../../src/data/image.js';
import { addGaussianNoise } from '../../src/data/noise.js';
import { estimateNoise, estimateNoisePerChannel, mse, psnr, ssim } from '../../src/metrics/index.js';

/** The pictures of the recorded values below. */
function picture(channels: number, height: number, width: number, phase: number) {
  const image = makeImage(channels, height, width);
  let at = 0;
  for (let c = 0; c < channels; c++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const hash = ((x * x * 31 + y * y * 17 + x * y * 7 + c * 131 + phase * 577) % 1009) / 1009;
        image.data[at++] = 0.5 + 0.3 * Math.sin(x / 5 + c) * Math.cos(y / 7) + 0.2 * (hash - 0.5) * (phase + 1);
      }
    }
  }
  return image;
}

/*
 * Made with scikit-image 0.19.3 on float64 copies of the same float32 pictures a (phase 0) and b (phase 1):
 *   peak_signal_noise_ratio(a, b, data_range=1)
 *   structural_similarity(a[c], b[c], win_size=7, data_range=1), mean over c
 *   structural_similarity(a[c], b[c], gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=r), mean over c, r = 1, 2
 *   estimate_sigma(b[c])
 */
const recorded = [
  {
    shape: [1, 37, 52],
    psnr: 16.353917007060126,
    uniform: 0.13296437512714473,
    gaussian: 0.0023947149232945533,
    gaussianRange2: 0.11148941821242564,
    sigma: [0.09338421361576862],
  },
  {
    shape: [3, 24, 31],
    psnr: 16.365041215229823,
    uniform: 0.12142033477166615,
    gaussian: -0.03421506794897677,
    gaussianRange2: 0.07957768387952348,
    sigma: [0.12826896142006416, 0.11844273360264125, 0.12838845819265543],
  },
  {
    shape: [1, 11, 11],
    psnr: 16.28677878684298,
    uniform: 0.12908205818894727,
    gaussian: 0.04041980228490929,
    gaussianRange2: 0.1382806788264581,
    sigma: [0.10120788533251594],
  },
] as const;

describe.each(recorded)('against scikit-image, shape $shape', (wanted) => {
  const [channels, height, width] = wanted.shape;
  const a = picture(channels, height, width, 0);
  const b = picture(channels, height, width, 1);
  it('psnr', () => expect(psnr(a, b)).toBeCloseTo(wanted.psnr, 9));
  it('ssim, 7x7 box', () => expect(ssim(a, b, { window: 'uniform7' })).toBeCloseTo(wanted.uniform, 9));
  it('ssim, 11x11 Gaussian', () => {
    expect(ssim(a, b)).toBeCloseTo(wanted.gaussian, 9);
    expect(ssim(a, b, { window: 'gaussian11', range: 2 })).toBeCloseTo(wanted.gaussianRange2, 9);
  });
  it('estimateNoise', () => {
    const sigmas = estimateNoisePerChannel(b);
    for (const [c, sigma] of wanted.sigma.entries()) expect(sigmas[c]).toBeCloseTo(sigma, 9);
    expect(estimateNoise(b)).toBeCloseTo(wanted.sigma.reduce((s, v) => s + v, 0) / channels, 9);
  });
});

describe('psnr and mse', () => {
  it('follow their definition', () => {
    const a = makeImage(1, 1, 4, Float32Array.of(0, 0, 0, 0));
    const b = makeImage(1, 1, 4, Float32Array.of(0.5, -0.5, 0.5, -0.5));
    expect(mse(a, b)).toBe(0.25);
    expect(psnr(a, b)).toBeCloseTo(6.0206, 4);
    expect(psnr(a, b, { range: 255 })).toBeCloseTo(54.1514, 4);
    expect(psnr(a, a)).toBe(Infinity);
  });
});

describe('ssim', () => {
  it('is 1 for equal images and symmetric', () => {
    const a = picture(1, 20, 20, 0);
    const b = picture(1, 20, 20, 1);
    expect(ssim(a, a)).toBeCloseTo(1, 12);
    expect(ssim(a, b)).toBeCloseTo(ssim(b, a), 12);
  });
});

describe('estimateNoise', () => {
  it('finds the noise level under a picture within 10 %', () => {
    const clean = deadLeaves({ height: 256, width: 256, seed: 3, minRadius: 8, textured: 0 });
    for (const sigma of [0.03, 0.1, 0.2]) {
      const found = estimateNoise(addGaussianNoise(clean, sigma, 1));
      expect(Math.abs(found / sigma - 1)).toBeLessThan(0.1);
    }
  });
  it('is 0 for a flat image', () => expect(estimateNoise(makeImage(1, 9, 9))).toBe(0));
});

describe('arguments', () => {
  it('are checked', () => {
    const a = makeImage(1, 8, 8);
    expect(() => psnr(a, makeImage(1, 8, 9))).toThrow('Expected images of one shape but received 1x8x8 and 1x8x9');
    expect(() => psnr(a, a, { range: 0 })).toThrow('Expected a positive finite number for range but received 0');
    expect(() => ssim(a, a)).toThrow('Expected images of at least 11x11 pixels for SSIM but received 8x8');
    expect(ssim(a, a, { window: 'uniform7' })).toBe(1);
    expect(() => estimateNoise(makeImage(1, 1, 9))).toThrow('at least 2x2');
  });
});
