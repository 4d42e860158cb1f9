/** The training loop: batches, gradients, updates, checkpoints, and continuing from one bit for bit. */
import { EventEmitter } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Module, valueAndGrad } from '../nn/index.js';
import type { Optimizer } from '../optim/index.js';
import { defaultGenerator, type Tensor, tidy } from '../tensor/index.js';
import { disposeCheckpoint, type JsonObject, readCheckpoint, writeCheckpoint } from './checkpoint.js';
import { appendRunLog, readRunLog, type StepRecord, writeRunLog } from './run-log.js';

export interface TrainerOptions<Batch> {
  model: Module;
  optimizer: Optimizer;
  /** How the model is made again: its class's name and constructor options. Saved with every checkpoint. */
  description: { name: string; options: JsonObject };
  /** The data of a step, counted from 0: a function of the step alone, so that a resumed run sees the same data. */
  batch: (step: number) => Batch;
  /** Samples in a batch, for the throughput. */
  batchSize: number;
  /** Runs inside a `tidy`: the number to minimise, and further numbers for the log (computed after the update, from the loss's value). */
  loss: (model: Module, batch: Batch) => Tensor | { loss: Tensor; metrics: (loss: number) => Record<string, number> };
  /** Number of steps of the whole run, or a limit in seconds of training time (`budgetSeconds`), whichever comes first. */
  steps: number;
  budgetSeconds?: number;
  /** Learning rate of a step, counted from 0; `progress` runs from 0 to 1. Default: the optimiser's own. */
  schedule?: (step: number, progress: number) => number;
  /** Folder of the run: `last.safetensors` and `log.jsonl`. Default: nothing is written. */
  folder?: string;
  /** Seconds between checkpoints. Default 30. One is always written at the end, and when the signal aborts. */
  checkpointSeconds?: number;
  /** Saved with the checkpoint and checked when resuming: settings that must not change. */
  settings?: JsonObject;
  signal?: AbortSignal;
}

export interface TrainerEvents {
  step: [record: StepRecord, secondsLeft: number];
  checkpoint: [path: string];
}

export interface TrainingResult {
  /** Steps done, earlier runs included. */
  steps: number;
  /** True when the signal stopped the run before its end. */
  aborted: boolean;
  /** All records, earlier runs included. */
  history: StepRecord[];
  /** The last checkpoint, when the run has a folder. */
  checkpoint: string | null;
}

export const CHECKPOINT_FILE = 'last.safetensors';
export const LOG_FILE = 'log.jsonl';

/** @throws RangeError for a loss that is not finite: the last checkpoint stays as it is. */
export class Trainer<Batch> extends EventEmitter<TrainerEvents> {
  readonly #options: TrainerOptions<Batch>;
  #step = 0;
  /** Seconds of training before this process. */
  #elapsedBefore = 0;
  #history: StepRecord[] = [];
  #unlogged: StepRecord[] = [];

  constructor(options: TrainerOptions<Batch>) {
    super();
    if (!Number.isInteger(options.steps) || options.steps < 1)
      throw new RangeError(`Expected an integer >= 1 for steps but received ${String(options.steps)}`);
    this.#options = options;
  }

  /** Steps done so far. */
  get step(): number {
    return this.#step;
  }

  /**
   * Loads the folder's checkpoint: weights, optimiser, step, random state and history.
   * @throws RangeError when the checkpoint was made with other settings or another model; FileError when it is damaged or missing
   */
  async resume(): Promise<void> {
    const { folder, model, optimizer, description, settings = {} } = this.#options;
    if (folder === undefined) throw new TypeError('Expected a folder to resume from but received none');
    const path = join(folder, CHECKPOINT_FILE);
    const checkpoint = await readCheckpoint(path);
    try {
      const { training } = checkpoint;
      if (training === null) throw new RangeError(`Expected a checkpoint with training state but ${path} holds a model only`);
      const state = training.state as { step: number; elapsed: number; random: { seed: number; offset: number }; settings: JsonObject };
      requireSame(path, 'model', checkpoint.model.name, description.name);
      requireSame(path, 'model options', checkpoint.model.options, description.options);
      requireSame(path, 'settings', state.settings, settings);
      const log = await readRunLog(join(folder, LOG_FILE), state.step);
      model.loadStateDict(checkpoint.model.state);
      optimizer.loadState(training.optimizer);
      defaultGenerator.state = state.random;
      this.#step = state.step;
      this.#elapsedBefore = state.elapsed;
      this.#history = log;
    } finally {
      disposeCheckpoint(checkpoint);
    }
  }

  /** Trains to the end, or until the signal aborts; the checkpoint and the log are complete when the promise settles. */
  async run(): Promise<TrainingResult> {
    const { steps, signal, folder, checkpointSeconds = 30, budgetSeconds = Number.POSITIVE_INFINITY } = this.#options;
    if (folder !== undefined) {
      await mkdir(folder, { recursive: true });
      await writeRunLog(join(folder, LOG_FILE), this.#history);
    }
    const started = performance.now();
    const elapsed = (): number => this.#elapsedBefore + (performance.now() - started) / 1000;
    let saved = performance.now();
    let path: string | null = null;
    while (this.#step < steps && elapsed() < budgetSeconds && signal?.aborted !== true) {
      const progress = Math.min(1, Math.max(this.#step / steps, elapsed() / budgetSeconds));
      const record = this.#trainStep(progress);
      const bySteps = (steps - this.#step) * (elapsed() / this.#step);
      this.emit('step', record, Math.min(bySteps, budgetSeconds - elapsed()));
      if (performance.now() - saved > checkpointSeconds * 1000) {
        path = await this.#save(elapsed());
        saved = performance.now();
      }
      // Signals, timers and progress bars get their turn.
      await new Promise((resolve) => setImmediate(resolve));
    }
    path = await this.#save(elapsed());
    return { steps: this.#step, aborted: signal?.aborted === true && this.#step < steps, history: this.#history, checkpoint: path };
  }

  #trainStep(progress: number): StepRecord {
    const { model, optimizer, batch, batchSize, loss, schedule } = this.#options;
    const began = performance.now();
    if (schedule !== undefined) optimizer.learningRate = schedule(this.#step, progress);
    const data = batch(this.#step);
    const { value, metrics } = tidy(() => {
      let metrics: ((loss: number) => Record<string, number>) | undefined;
      const { value, gradients } = valueAndGrad(model, () => {
        const result = loss(model, data);
        if ('metrics' in result) {
          metrics = result.metrics;
          return result.loss;
        }
        return result;
      });
      const number = value.item();
      if (!Number.isFinite(number))
        throw new RangeError(`The loss became ${number} at step ${this.#step}: lower the learning rate or check the data`);
      optimizer.step(gradients);
      return { value: number, metrics: metrics?.(number) ?? {} };
    });
    this.#step++;
    const samplesPerSecond = batchSize / ((performance.now() - began) / 1000);
    const record: StepRecord = { step: this.#step, loss: value, learningRate: optimizer.learningRate, samplesPerSecond, metrics };
    this.#history.push(record);
    this.#unlogged.push(record);
    return record;
  }

  async #save(elapsed: number): Promise<string | null> {
    const { folder, model, optimizer, description, settings = {} } = this.#options;
    if (folder === undefined) return null;
    // The log first: a resumed run cuts it at the checkpoint's step.
    await appendRunLog(join(folder, LOG_FILE), this.#unlogged);
    this.#unlogged = [];
    const path = join(folder, CHECKPOINT_FILE);
    const { seed, offset } = defaultGenerator.state;
    await writeCheckpoint(path, {
      model: { ...description, state: model.stateDict() },
      training: { optimizer: optimizer.state(), state: { step: this.#step, elapsed, random: { seed, offset }, settings } },
    });
    this.emit('checkpoint', path);
    return path;
  }
}

function requireSame(path: string, what: string, saved: unknown, wanted: unknown): void {
  const canonical = (value: unknown): string =>
    JSON.stringify(value, (_key, v: unknown) =>
      v !== null && typeof v === 'object' && !Array.isArray(v)
        ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)))
        : v,
    );
  if (canonical(saved) !== canonical(wanted)) {
    throw new RangeError(`Expected to resume with the ${what} of ${path}, ${canonical(saved)}, but received ${canonical(wanted)}`);
  }
}
