/** What a training run is made of, and what comes out of it. */
import type { Module } from '../nn/index.js';
import type { Optimizer, schedules } from '../optim/index.js';
import type { Generator, Tensor } from '../tensor/index.js';
import type { JsonObject } from './checkpoint.js';
import type { StepRecord } from './run-log.js';

type PlateauOptions = schedules.PlateauOptions;

export interface TrainerOptions<Batch, Inputs = Batch> {
  model: Module;
  optimizer: Optimizer;
  /** How the model is made again: its class's name and constructor options. Saved with every checkpoint. */
  description: { name: string; options: JsonObject };
  /** The data of a step, counted from 0: a function of the step alone, so that a resumed run sees the same data. */
  batch: (step: number) => Batch | Promise<Batch>;
  /** Samples in a batch, for the throughput. */
  batchSize: number;
  /** What the loss takes of a batch, inside the step's `tidy`. Default: the batch itself. */
  inputs?: (batch: Batch) => Inputs;
  /**
   * Runs inside a `tidy`: the number to minimise, and further ones. `values` are one-element tensors, read after the update; `metrics` makes the
   * log's numbers of the loss and of them, and must take what changes from step to step from there (default: the values). `random` starts
   * anew with every batch.
   */
  loss: (model: Module, inputs: Inputs, random: Generator) => Tensor | LossTerms;
  /** Seed of the loss's random numbers, from the batch's number. Default: one that depends on the number alone. */
  randomSeed?: (number: number) => number;
  /**
   * Records the whole update on the GPU (forward, backward, clipping, optimiser, averages, random numbers), once for every shape of the
   * inputs, and replays it: the same bits with one launch instead of one for each kernel. The inputs must then be tensors, or arrays and
   * records of them. Where an update cannot be recorded the event `uncaptured` says why, once, and updates run as without. Default false.
   */
  capture?: boolean;
  /** Number of steps of the whole run, or a limit in seconds of training time (`budgetSeconds`), whichever comes first. */
  steps: number;
  budgetSeconds?: number;
  /** Learning rate of a step, counted from 0; `progress` runs from 0 to 1. Default: the optimiser's own. */
  schedule?: (step: number, progress: number) => number;
  /**
   * Lowers the learning rate, after `schedule`, when a value stops improving: that of the evaluations, or without them the mean loss of
   * every `every` (default 100) updates.
   */
  plateau?: PlateauOptions & { every?: number };
  /** Called when a batch is no longer needed, so that its memory can be used again. */
  release?: (batch: Batch) => void;
  /** Batches per update; their gradients are averaged, and `batch` counts them: update k sees k n … k n + n - 1. Default 1. */
  accumulate?: number;
  /** Largest global norm of an update's gradients. Default: unlimited. */
  clipNorm?: number;
  /** Decay of a moving average of the weights, which evaluation and `best.safetensors` use. Default: none. */
  average?: number;
  /** A number to watch, computed every so many updates with the model in evaluation mode (and averaged weights, if any). */
  evaluation?: EvaluationOptions;
  /** Folder of the run: `last.safetensors` and `log.jsonl`. Default: nothing is written. */
  folder?: string;
  /** Seconds between checkpoints. Default 30. One is always written at the end, and when the signal aborts. */
  checkpointSeconds?: number;
  /** Saved with the checkpoint and checked when resuming: settings that must not change. */
  settings?: JsonObject;
  /** Ends the run after the step in progress, or at once while a batch is awaited; the checkpoint is then written. */
  signal?: AbortSignal;
}

/** What a loss function may return instead of the number to minimise alone. */
export interface LossTerms {
  loss: Tensor;
  values?: Record<string, Tensor>;
  metrics?: (loss: number, values: Record<string, number>) => Record<string, number>;
}

export interface EvaluationOptions {
  /** Updates between evaluations. A run that ends between two ends with one more. */
  every: number;
  /** Its name among the log's metrics. Default `validation`. */
  name?: string;
  /** The number to watch. */
  run: (model: Module, step: number) => number;
  /** Whether it should fall (default) or rise. The best model is kept in the folder's `best.safetensors`. */
  goal?: 'min' | 'max';
  /** Ends the run after this many evaluations without a new best. Default: never. */
  patience?: number;
}

/** What a trainer tells its listeners. */
export interface TrainerEvents {
  /** After every update; the seconds left are an estimate. */
  step: [record: StepRecord, secondsLeft: number];
  /** After every evaluation: the value, and whether it is the best so far. */
  evaluation: [value: number, best: boolean];
  /** With `capture`, once: why updates are not recorded. */
  uncaptured: [reason: string];
  /** After a checkpoint was written. */
  checkpoint: [path: string];
}

export interface TrainingResult {
  /** Steps done, earlier runs included. */
  steps: number;
  /** True when evaluations stopped improving and the run ended early. */
  stoppedEarly: boolean;
  /** True when the signal stopped the run before its end. */
  aborted: boolean;
  /** All records, earlier runs included. */
  history: StepRecord[];
  /** The last checkpoint, when the run has a folder. */
  checkpoint: string | null;
}
