/** Training TVflowNET without a single solved flow: Adam on the loss (9) at random times (specification §5). */
import type { BatchSource, TrainingBatch } from '../../data/index.js';
import { broadcastTo, mul, narrow, pad, reshape } from '../../ops/index.js';
import type { Generator, Tensor } from '../../tensor/index.js';
import type { Trainer } from '../../train/index.js';
import { type PatchTrainingOptions, patchTrainer } from '../patch-trainer.js';
import { describeFlowNet } from './load.js';
import { checkLossOptions, type FlowLossOptions, type FlowLossTerms, flowLoss } from './loss.js';
import type { TVFlowNet } from './network.js';

export interface FlowTrainingOptions
  extends Omit<PatchTrainingOptions, 'model' | 'description' | 'loss' | 'settings' | 'patches' | 'randomLabel' | 'groups'> {
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
  /** Peak of the learning rate. Default 5e-4. */
  learningRate?: number;
  /** Weights and variants of the loss; its boundary is the network's. */
  loss?: Omit<FlowLossOptions, 'phiBoundary'>;
  /** As in PatchTrainingOptions, but gradients are clipped at norm 1 by default. */
  training?: NonNullable<PatchTrainingOptions['training']>;
}

/** A trainer that minimises the loss (9). The log's metrics are its four terms: `temporal`, `tv`, `normalisation`, `initial`. */
export function flowTrainer(options: FlowTrainingOptions): Trainer<TrainingBatch, Tensor> {
  const { model, batchSize = 8, timesPerImage = 1, endTime = 1, learningRate = 5e-4 } = options;
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
  return patchTrainer({
    ...options,
    description: describeFlowNet(model),
    batchSize,
    patches: batchSize / timesPerImage,
    learningRate,
    randomLabel: 9,
    training: { clipNorm: 1, ...options.training },
    settings: { timesPerImage, endTime, ...loss },
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
