/** Training on clean patches with Adam, whatever the loss does to them. */
import { type BatchSource, cleanTensor, deriveSeed, type TrainingBatch } from '../data/index.js';
import type { Module } from '../nn/index.js';
import { Adam, type ParameterGroup, schedules } from '../optim/index.js';
import type { Tensor } from '../tensor/index.js';
import { type JsonObject, Trainer, type TrainerOptions } from '../train/index.js';

export interface PatchTrainingOptions {
  model: Module;
  /** How to make the model again, saved in checkpoints. */
  description: { name: string; options: JsonObject };
  source: BatchSource;
  /** Samples of a batch. Default 16. */
  batchSize?: number;
  /** Patches of a batch, where a sample is not a patch. Default: as many. */
  patches?: number;
  steps: number;
  budgetSeconds?: number;
  /** Peak of the learning rate. Default 1e-3. */
  learningRate?: number;
  /** Seed of the loss's random numbers. Default 0. */
  seed?: number;
  /** Tells these random numbers from others of the same seed; see `cutBatch`. Default 2. */
  randomLabel?: number;
  folder?: string;
  checkpointSeconds?: number;
  signal?: AbortSignal;
  /** Factor on the learning rate. Default: 100 steps of warm-up, then half a cosine down to a hundredth. */
  schedule?: schedules.Schedule;
  /** Names the schedule among the settings that a resumed run must share. Default `cosine`. */
  scheduleName?: string;
  /** Learning rates and projections of some parameters. */
  groups?: readonly ParameterGroup[];
  /** Accumulation, clipping, averaging, plateau, evaluation and capturing (see TrainerOptions). */
  training?: Pick<TrainerOptions<TrainingBatch>, 'accumulate' | 'clipNorm' | 'average' | 'plateau' | 'evaluation' | 'capture'>;
  /** The number to minimise for clean patches [n, channels, h, w]; the random numbers depend on the batch's number and the seed alone. */
  loss: TrainerOptions<TrainingBatch, Tensor>['loss'];
  /** Further settings that a resumed run must share. */
  settings: JsonObject;
}

export function patchTrainer(options: PatchTrainingOptions): Trainer<TrainingBatch, Tensor> {
  const {
    model,
    source,
    batchSize = 16,
    patches = batchSize,
    learningRate = 1e-3,
    seed = 0,
    randomLabel = 2,
    steps,
    budgetSeconds,
  } = options;
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
    batch: (k) => source.batch(k, patches),
    release: (batch) => batch.release?.(),
    inputs: cleanTensor,
    loss: options.loss,
    randomSeed: (number) => deriveSeed(seed, randomLabel, number),
  });
}
