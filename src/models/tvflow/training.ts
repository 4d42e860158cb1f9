/** Training TVflowNET without a single solved flow: Adam on the loss (9) at random times (specification §5). */
import { type BatchSource, cleanTensor, deriveSeed, type TrainingBatch } from '../../data/index.js';
import { broadcastTo, mul, narrow, pad, reshape } from '../../ops/index.js';
import { Adam, schedules } from '../../optim/index.js';
import type { Generator, Tensor } from '../../tensor/index.js';
import { Trainer, type TrainerOptions } from '../../train/index.js';
import { describeFlowNet } from './load.js';
import { checkLossOptions, type FlowLossOptions, type FlowLossTerms, flowLoss } from './loss.js';
import type { TVFlowNet } from './network.js';

export interface FlowTrainingOptions {
  model: TVFlowNet;
  /** Patches with values 0 … 1; their channels count as images of their own. */
  source: BatchSource;
  /** Pairs of an image and a time in a batch. Default 8. */
  batchSize?: number;
  /**
   * Times per image, uniform in [0, endTime]. 1 (default): every pair has an image of its own, and û(0) is a second evaluation. More: the first
   * time of each image is 0 and gives û(0), which spares that evaluation; `batchSize` of them is the authors' trajectory mode.
   */
  timesPerImage?: number;
  /** Default 1, on the network's scale. */
  endTime?: number;
  steps: number;
  budgetSeconds?: number;
  /** Peak of the learning rate. Default 5e-4. */
  learningRate?: number;
  /** Seed of the times. Default 0. */
  seed?: number;
  /** Weights and variants of the loss; its boundary is the network's. */
  loss?: Omit<FlowLossOptions, 'phiBoundary'>;
  folder?: string;
  checkpointSeconds?: number;
  signal?: AbortSignal;
  /** Factor on the learning rate. Default: 100 steps of warm-up, then half a cosine down to a hundredth. */
  schedule?: schedules.Schedule;
  /** Names the schedule among the settings that a resumed run must share. */
  scheduleName?: string;
  /** Accumulation, clipping (default: norm 1), averaging, plateau, evaluation and capturing (see TrainerOptions). */
  training?: Pick<TrainerOptions<TrainingBatch>, 'accumulate' | 'clipNorm' | 'average' | 'plateau' | 'evaluation' | 'capture'>;
}

/** A trainer that minimises the loss (9). The log's metrics are its four terms: `temporal`, `tv`, `normalisation`, `initial`. */
export function flowTrainer(options: FlowTrainingOptions): Trainer<TrainingBatch, Tensor> {
  const { model, source, batchSize = 8, timesPerImage = 1, endTime = 1, learningRate = 5e-4, seed = 0, steps, budgetSeconds } = options;
  if (!Number.isInteger(batchSize) || batchSize < 1)
    throw new RangeError(`Expected an integer >= 1 for batchSize but received ${String(batchSize)}`);
  if (!Number.isInteger(timesPerImage) || timesPerImage < 1 || batchSize % timesPerImage !== 0)
    throw new RangeError(
      `Expected an integer >= 1 that divides the batch of ${batchSize} for timesPerImage but received ${String(timesPerImage)}`,
    );
  if (!(endTime > 0) || !Number.isFinite(endTime))
    throw new RangeError(`Expected a finite number > 0 for endTime but received ${String(endTime)}`);
  const { phiBoundary, scale } = model.options;
  const loss = checkLossOptions({ ...options.loss, phiBoundary });
  const schedule = options.schedule ?? schedules.warmUp(100, schedules.cosine(0.01));
  return new Trainer<TrainingBatch, Tensor>({
    clipNorm: 1,
    ...options.training,
    model,
    description: describeFlowNet(model),
    optimizer: new Adam(model.namedParameters(), { learningRate }),
    steps,
    ...(budgetSeconds !== undefined && { budgetSeconds }),
    ...(options.folder !== undefined && { folder: options.folder }),
    ...(options.checkpointSeconds !== undefined && { checkpointSeconds: options.checkpointSeconds }),
    ...(options.signal !== undefined && { signal: options.signal }),
    batchSize,
    schedule: (k, progress) => learningRate * schedule(k, progress),
    settings: {
      batchSize,
      timesPerImage,
      endTime,
      learningRate,
      seed,
      ...loss,
      data: source.description,
      patchSize: source.patchSize,
      ...(options.scheduleName !== undefined && { schedule: options.scheduleName }),
      ...(budgetSeconds === undefined ? { steps } : { budgetSeconds }),
    },
    batch: (k) => source.batch(k, batchSize / timesPerImage),
    release: (batch) => batch.release?.(),
    inputs: cleanTensor,
    // The times, too, depend on the batch's number alone. Label 9: see `cutBatch`.
    randomSeed: (number) => deriveSeed(seed, 9, number),
    loss: (_network, clean, random) => {
      const [n, channels, h, w] = clean.shape as [number, number, number, number];
      const images = reshape(mul(clean, scale), [n * channels, 1, h, w]);
      const { total, ...values } = batchLoss(model, images, { timesPerImage, endTime, loss, random });
      return { loss: total, values };
    },
  });
}

/**
 * The loss of a network on images at random times.
 * @param images [n, 1, h, w], at the network's scale
 */
export function batchLoss(
  network: TVFlowNet,
  images: Tensor,
  { timesPerImage = 1, endTime = 1, loss, random }: { timesPerImage?: number; endTime?: number; loss: FlowLossOptions; random: Generator },
): FlowLossTerms {
  const [n, , h, w] = images.shape as [number, number, number, number];
  if (timesPerImage === 1) {
    const prediction = network.predictWithDerivative(images, random.uniform([n], { high: endTime }));
    return flowLoss({ ...prediction, initial: network.predict(images, 0).u }, images, loss);
  }
  const repeated = broadcastTo(images, [n, timesPerImage, h, w]);
  const later = random.uniform([n, timesPerImage - 1], { high: endTime });
  const prediction = network.predictWithDerivative(
    repeated,
    pad(later, [
      [0, 0],
      [1, 0],
    ]),
  );
  return flowLoss({ ...prediction, initial: narrow(prediction.u, 1, 0, 1) }, images, loss);
}
