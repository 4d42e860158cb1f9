/** Denoising by total variation alone: the baseline of every network, and what `tautgrad denoise` does without one. */
import { type Image, makeImage } from '../../data/index.js';
import { estimateNoise, psnr } from '../../metrics/index.js';
import { Tensor, tidy } from '../../tensor/index.js';
import { prox2d, rof } from '../../tv/index.js';

export interface TVDenoiserOptions {
  /** For values 0 … 1; `'auto'` (default): `lambdaForNoise` of the level estimated from the image. */
  lambda?: number | 'auto';
  /** Isotropic (ROF) instead of anisotropic total variation. */
  isotropic?: boolean;
  /** Relative duality gap. Default 1e-4, which keeps the root mean square error near a third of an 8-bit level at most. */
  tolerance?: number;
}

export interface TVDenoised {
  image: Image;
  lambda: number;
  /** The estimated noise level (standard deviation, values 0 … 1), or null when lambda was given. */
  sigma: number | null;
}

/** Each channel by itself, with one lambda; the result is not clamped. */
export function denoiseWithTV(image: Image, options: TVDenoiserOptions = {}): TVDenoised {
  const { isotropic = false, tolerance = 1e-4 } = options;
  const sigma = (options.lambda ?? 'auto') === 'auto' ? estimateNoise(image) : null;
  const lambda = sigma === null ? (options.lambda as number) : lambdaForNoise(sigma, isotropic);
  const { data, channels, height, width } = image;
  const denoised = tidy(() => {
    const x = Tensor.from(data, [channels, height, width]);
    return (isotropic ? rof(x, lambda, { tolerance }) : prox2d(x, lambda, { tolerance })).toTypedArray() as Float32Array;
  });
  return { image: makeImage(channels, height, width, denoised), lambda, sigma };
}

/**
 * The lambda for noise of standard deviation `sigma` (values 0 … 1): c sigma^p, the power law closest to the lambdas of greatest mean
 * PSNR on dead-leaves pictures for sigma = 5, 10, 15, 25, 50 of 255 (`bench/auto-lambda.ts` repeats the calibration).
 */
export function lambdaForNoise(sigma: number, isotropic = false): number {
  if (!(sigma >= 0) || !Number.isFinite(sigma))
    throw new RangeError(`Expected a finite number >= 0 for sigma but received ${String(sigma)}`);
  const { factor, power } = isotropic ? { factor: 1.04, power: 1.18 } : { factor: 0.89, power: 1.21 };
  return factor * sigma ** power;
}

/**
 * The lambda of greatest mean PSNR over pairs of a clean and a noisy image, to 1 %: golden-section search over log(lambda).
 * @param limits interval that holds the best lambda
 */
export function bestLambda(
  pairs: readonly { clean: Image; noisy: Image }[],
  options: { isotropic?: boolean; limits?: readonly [number, number] } = {},
): { lambda: number; psnr: number } {
  const { isotropic = false, limits = [1e-3, 1] } = options;
  if (pairs.length === 0) throw new RangeError('Expected at least one pair of images for pairs but received none');
  const score = (logLambda: number): number => {
    const lambda = Math.exp(logLambda);
    const sum = pairs.reduce(
      (s, { clean, noisy }) => s + psnr(denoiseWithTV(noisy, { lambda, isotropic, tolerance: 1e-3 }).image, clean),
      0,
    );
    return sum / pairs.length;
  };
  const ratio = (Math.sqrt(5) - 1) / 2;
  let [low, high] = [Math.log(limits[0]), Math.log(limits[1])];
  let [a, b] = [high - ratio * (high - low), low + ratio * (high - low)];
  let [fa, fb] = [score(a), score(b)];
  while (high - low > 0.01) {
    if (fa > fb) {
      [high, b, fb] = [b, a, fa];
      a = high - ratio * (high - low);
      fa = score(a);
    } else {
      [low, a, fa] = [a, b, fb];
      b = low + ratio * (high - low);
      fb = score(b);
    }
  }
  return fa > fb ? { lambda: Math.exp(a), psnr: fa } : { lambda: Math.exp(b), psnr: fb };
}
