import { type Image, plane } from '../data/image.js';
import { requireRange, requireSameShape } from './psnr.js';

export interface SsimOptions {
  /**
   * `'uniform7'`: 7x7 box and sample covariance (divided by 48), the default of scikit-image's
   * `structural_similarity`. `'gaussian11'` (default): 11x11 Gaussian of deviation 1.5 and plain covariance, the setting
   * of the original paper, scikit-image's `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`.
   */
  window?: 'uniform7' | 'gaussian11';
  /** Distance from black to white; 1 by default. */
  range?: number;
}

/** Weights along one axis (they sum to 1) and the factor that makes second moments covariances. */
const windows = {
  uniform7: { weights: new Float64Array(7).fill(1 / 7), covarianceScale: 49 / 48 },
  gaussian11: { weights: gaussian(5, 1.5), covarianceScale: 1 },
};

/**
 * Mean structural similarity (Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to
 * structural similarity", IEEE TIP 2004) with K1 = 0.01 and K2 = 0.03, at most 1. Averaged over all places where the
 * window lies inside the image, and over the channels.
 *
 * @throws RangeError when an image is smaller than the window
 */
export function ssim(a: Image, b: Image, { window = 'gaussian11', range = 1 }: SsimOptions = {}): number {
  requireSameShape(a, b);
  requireRange(range);
  const { weights, covarianceScale } = windows[window];
  const { height, width, channels } = a;
  if (height < weights.length || width < weights.length) {
    throw new RangeError(`Expected images of at least ${weights.length}x${weights.length} pixels for SSIM but received ${height}x${width}`);
  }
  const c1 = (0.01 * range) ** 2;
  const c2 = (0.03 * range) ** 2;
  let total = 0;
  for (let channel = 0; channel < channels; channel++) {
    const x = plane(a, channel);
    const y = plane(b, channel);
    const mean = (f: (i: number) => number): Float64Array => localMean(f, height, width, weights);
    const mx = mean((i) => x[i]!);
    const my = mean((i) => y[i]!);
    const mxx = mean((i) => x[i]! * x[i]!);
    const myy = mean((i) => y[i]! * y[i]!);
    const mxy = mean((i) => x[i]! * y[i]!);
    let sum = 0;
    for (let i = 0; i < mx.length; i++) {
      const [ux, uy] = [mx[i]!, my[i]!];
      const vx = covarianceScale * (mxx[i]! - ux * ux);
      const vy = covarianceScale * (myy[i]! - uy * uy);
      const vxy = covarianceScale * (mxy[i]! - ux * uy);
      sum += ((2 * ux * uy + c1) * (2 * vxy + c2)) / ((ux * ux + uy * uy + c1) * (vx + vy + c2));
    }
    total += sum / mx.length;
  }
  return total / channels;
}

/** Separable weighted means over all windows that fit: (height - n + 1) x (width - n + 1) values. */
function localMean(sample: (index: number) => number, height: number, width: number, weights: Float64Array): Float64Array {
  const n = weights.length;
  const outWidth = width - n + 1;
  const rows = new Float64Array(height * outWidth);
  const line = new Float64Array(width);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) line[x] = sample(y * width + x);
    for (let x = 0; x < outWidth; x++) {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += weights[k]! * line[x + k]!;
      rows[y * outWidth + x] = sum;
    }
  }
  const out = new Float64Array((height - n + 1) * outWidth);
  for (let y = 0; y + n <= height; y++) {
    for (let k = 0; k < n; k++) {
      const weight = weights[k]!;
      const from = (y + k) * outWidth;
      for (let x = 0; x < outWidth; x++) out[y * outWidth + x] = out[y * outWidth + x]! + weight * rows[from + x]!;
    }
  }
  return out;
}

function gaussian(radius: number, sigma: number): Float64Array {
  const weights = Float64Array.from({ length: 2 * radius + 1 }, (_, i) => Math.exp(-((i - radius) ** 2) / (2 * sigma ** 2)));
  const sum = weights.reduce((s, w) => s + w, 0);
  return weights.map((w) => w / sum);
}
