/** Gaussian denoising: training a residual denoiser on clean patches, applying it, and scoring it. */
import {
  addGaussianNoise,
  type BatchSource,
  cleanTensor,
  deriveSeed,
  type Image,
  makeImage,
  type TrainingBatch,
} from '../../data/index.js';
import { psnr, ssim } from '../../metrics/index.js';
import { type Module, TVLayer1d, TVLayer2d } from '../../nn/index.js';
import { add, clamp, mean, square, sub } from '../../ops/index.js';
import { Adam, type ParameterGroup, schedules } from '../../optim/index.js';
import { Tensor, tidy } from '../../tensor/index.js';
import { type JsonObject, Trainer, type TrainerOptions } from '../../train/index.js';

export interface DenoisingOptions {
  model: Module;
  /** How to make the model again, saved in checkpoints. */
  description: { name: string; options: JsonObject };
  source: BatchSource;
  /** Standard deviation of the noise, for values 0 … 1 (σ = 25 of 255 is 25 / 255). */
  sigma: number;
  /** Default 16. */
  batchSize?: number;
  steps: number;
  budgetSeconds?: number;
  /** Peak of the learning rate. Default 1e-3. */
  learningRate?: number;
  /** Seed of the noise. Default 0. */
  seed?: number;
  folder?: string;
  checkpointSeconds?: number;
  signal?: AbortSignal;
  /** Factor on the learning rate. Default: 100 steps of warm-up, then half a cosine down to a hundredth. */
  schedule?: schedules.Schedule;
  /** Names the schedule among the settings that a resumed run must share. Default `cosine`. */
  scheduleName?: string;
  /** Learning rates and projections of some parameters. */
  groups?: readonly ParameterGroup[];
  /** Numbers for the log beside the PSNR. Default: the lambdas of the TV layers. */
  metrics?: () => Record<string, number>;
  /** Accumulation, clipping, averaging, plateau, evaluation and capturing (see TrainerOptions). */
  training?: Pick<TrainerOptions<TrainingBatch>, 'accumulate' | 'clipNorm' | 'average' | 'plateau' | 'evaluation' | 'capture'>;
}

/** What a trainer on clean patches needs, whatever is done to them. */
export type PatchTrainingOptions = Omit<DenoisingOptions, 'sigma' | 'metrics'> & {
  /** The number to minimise for clean patches [n, channels, h, w]; the random numbers depend on the batch's number and the seed alone. */
  loss: TrainerOptions<TrainingBatch, Tensor>['loss'];
  /** Further settings that a resumed run must share. */
  settings: JsonObject;
};

/** A trainer on clean patches with Adam. */
export function patchTrainer(options: PatchTrainingOptions): Trainer<TrainingBatch, Tensor> {
  const { model, source, batchSize = 16, learningRate = 1e-3, seed = 0, steps, budgetSeconds } = options;
  // A hundred steps of warm-up: Adam's first steps move every weight by the full rate, which throws a deep network off.
  const schedule = options.schedule ?? schedules.warmUp(100, schedules.cosine(0.01));
  return new Trainer<TrainingBatch, Tensor>({
    ...options.training,
    model,
    description: options.description,
    optimizer: new Adam(model.namedParameters(), { learningRate, ...(options.groups && { groups: options.groups }) }),
    steps,
    ...(budgetSeconds !== undefined && { budgetSeconds }),
    ...(options.folder !== undefined && { folder: options.folder }),
    ...(options.checkpointSeconds !== undefined && { checkpointSeconds: options.checkpointSeconds }),
    ...(options.signal !== undefined && { signal: options.signal }),
    batchSize,
    schedule: (k, progress) => learningRate * schedule(k, progress),
    settings: {
      ...options.settings,
      batchSize,
      learningRate,
      seed,
      data: source.description,
      patchSize: source.patchSize,
      ...(options.scheduleName !== undefined && { schedule: options.scheduleName }),
      ...(budgetSeconds === undefined ? { steps } : { budgetSeconds }),
    },
    batch: (k) => source.batch(k, batchSize),
    release: (batch) => batch.release?.(),
    inputs: cleanTensor,
    loss: options.loss,
    randomSeed: (number) => deriveSeed(seed, 2, number),
  });
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
