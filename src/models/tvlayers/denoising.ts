/** Gaussian denoising: training a residual denoiser on clean patches, applying it, and scoring it. */
import { addGaussianNoise, deriveSeed, type Image, makeImage, type TrainingBatch } from '../../data/index.js';
import { psnr, ssim } from '../../metrics/index.js';
import { type Module, TVLayer1d, TVLayer2d } from '../../nn/index.js';
import { add, clamp, mean, square, sub } from '../../ops/index.js';
import { Tensor, tidy } from '../../tensor/index.js';
import type { Trainer } from '../../train/index.js';
import { type PatchTrainingOptions, patchTrainer } from '../patch-trainer.js';

export interface DenoisingOptions extends Omit<PatchTrainingOptions, 'loss' | 'settings' | 'patches' | 'randomLabel'> {
  /** Standard deviation of the noise, for values 0 … 1 (σ = 25 of 255 is 25 / 255). */
  sigma: number;
  /** Numbers for the log beside the PSNR. Default: the lambdas of the TV layers. */
  metrics?: () => Record<string, number>;
}

/**
 * A trainer that minimises the mean squared error of the denoised patches with Adam. The log's metrics are `psnr` of the batch, and
 * `lambda.<layer>` (mean over channels) of every TV layer.
 */
export function denoisingTrainer({ sigma, metrics, ...options }: DenoisingOptions): Trainer<TrainingBatch, Tensor> {
  if (!(sigma > 0) || !Number.isFinite(sigma)) throw new RangeError(`Expected a finite number > 0 for sigma but received ${String(sigma)}`);
  return patchTrainer({
    ...options,
    settings: { sigma },
    loss: (network, target, random) => {
      const noise = random.normal(target.shape, { std: sigma });
      const loss = mean(square(sub(network.forward(add(target, noise)), target)));
      return { loss, metrics: (mse) => ({ psnr: -10 * Math.log10(mse), ...(metrics?.() ?? lambdas(network)) }) };
    },
  });
}

/** Where the lambdas of a DnCNN_TV start for noise of this level: a fifth and a tenth of it, a little smoothing that training adjusts. */
export function initialLambdas(sigma: number): { lambdaIn: number; lambdaOut: number } {
  return { lambdaIn: 0.2 * sigma, lambdaOut: 0.1 * sigma };
}

/** The mean lambda of every TV layer, by `lambda.<path>`. */
export function lambdas(model: Module): Record<string, number> {
  const found: Record<string, number> = {};
  for (const [path, module] of model.namedModules()) {
    if (module instanceof TVLayer1d || module instanceof TVLayer2d) found[`lambda.${path}`] = tidy(() => mean(module.lambda()).item());
  }
  return found;
}

/** The denoised image: the network applied to the whole of it, limited to 0 … 1. */
export function applyDenoiser(model: Module, image: Image): Image {
  const { data, channels, height, width } = image;
  const training = model.training;
  model.eval();
  try {
    return tidy(() => {
      const y = clamp(model.forward(Tensor.from(data, [1, channels, height, width])), 0, 1);
      return makeImage(channels, height, width, y.toTypedArray() as Float32Array);
    });
  } finally {
    model.train(training);
  }
}

export interface Score {
  name: string;
  /** dB, of the noisy image and of the result. */
  noisyPsnr: number;
  psnr: number;
  noisySsim: number;
  ssim: number;
}

/**
 * Scores a denoiser on clean images with noise of a fixed seed per image. PSNR in dB and SSIM (Gaussian window) for the range 0 … 1.
 * @param denoise from a noisy image to its estimate
 */
export function* scoreDenoiser(
  images: Iterable<{ name: string; image: Image }>,
  sigma: number,
  denoise: (noisy: Image) => Image,
  seed = 0,
): IterableIterator<Score> {
  let index = 0;
  for (const { name, image } of images) {
    const noisy = addGaussianNoise(image, sigma, deriveSeed(seed, 3, index++));
    const result = denoise(noisy);
    yield { name, noisyPsnr: psnr(noisy, image), psnr: psnr(result, image), noisySsim: ssim(noisy, image), ssim: ssim(result, image) };
  }
}
