/** The training loop: batches, gradients, updates, checkpoints, and continuing from one bit for bit. */
import { EventEmitter } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Module, valueAndGrad } from '../nn/index.js';
import { clipByGlobalNorm, GradientAccumulator, MovingAverage, type Optimizer } from '../optim/index.js';
import { defaultGenerator, outsideScopes, type Tensor, tensor, tidy } from '../tensor/index.js';
import { disposeCheckpoint, type JsonObject, readCheckpoint, writeCheckpoint } from './checkpoint.js';
import { appendRunLog, readRunLog, type StepRecord, writeRunLog } from './run-log.js';

export interface TrainerOptions<Batch> {
  model: Module;
  optimizer: Optimizer;
  /** How the model is made again: its class's name and constructor options. Saved with every checkpoint. */
  description: { name: string; options: JsonObject };
  /** The data of a step, counted from 0: a function of the step alone, so that a resumed run sees the same data. */
  batch: (step: number) => Batch | Promise<Batch>;
  /** Samples in a batch, for the throughput. */
  batchSize: number;
  /** Runs inside a `tidy`: the number to minimise, and further numbers for the log (computed after the update, from the loss's value). */
  loss: (model: Module, batch: Batch) => Tensor | { loss: Tensor; metrics: (loss: number) => Record<string, number> };
  /** Number of steps of the whole run, or a limit in seconds of training time (`budgetSeconds`), whichever comes first. */
  steps: number;
  budgetSeconds?: number;
  /** Learning rate of a step, counted from 0; `progress` runs from 0 to 1. Default: the optimiser's own. */
  schedule?: (step: number, progress: number) => number;
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
  signal?: AbortSignal;
}

export interface EvaluationOptions {
  /** Updates between evaluations. */
  every: number;
  /** The number to watch; it is logged as the metric `validation`. */
  run: (model: Module, step: number) => number;
  /** Whether it should fall (default) or rise. The best model is kept in the folder's `best.safetensors`. */
  goal?: 'min' | 'max';
  /** Ends the run after this many evaluations without a new best. Default: never. */
  patience?: number;
}

export interface TrainerEvents {
  step: [record: StepRecord, secondsLeft: number];
  evaluation: [value: number, best: boolean];
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

export const CHECKPOINT_FILE = 'last.safetensors';
export const BEST_FILE = 'best.safetensors';
export const LOG_FILE = 'log.jsonl';

/** Prefix of the averaged weights among a checkpoint's optimiser tensors. */
const AVERAGE = 'average.';

/** @throws RangeError for a loss that is not finite: the last checkpoint stays as it is. */
export class Trainer<Batch> extends EventEmitter<TrainerEvents> {
  readonly #options: TrainerOptions<Batch>;
  #step = 0;
  /** Seconds of training before this process. */
  #elapsedBefore = 0;
  #history: StepRecord[] = [];
  #unlogged: StepRecord[] = [];
  readonly #average: MovingAverage | null;
  /** The best evaluation so far and how many have passed since. */
  #watch: { best: number | null; since: number } = { best: null, since: 0 };

  constructor(options: TrainerOptions<Batch>) {
    super();
    if (!Number.isInteger(options.steps) || options.steps < 1)
      throw new RangeError(`Expected an integer >= 1 for steps but received ${String(options.steps)}`);
    const { accumulate = 1, clipNorm = 1, evaluation, average } = options;
    if (!Number.isInteger(accumulate) || accumulate < 1)
      throw new RangeError(`Expected an integer >= 1 for accumulate but received ${String(accumulate)}`);
    if (!(clipNorm > 0)) throw new RangeError(`Expected a number > 0 for clipNorm but received ${String(clipNorm)}`);
    if (evaluation && !(Number.isInteger(evaluation.every) && evaluation.every >= 1)) {
      throw new RangeError(`Expected an integer >= 1 for evaluation.every but received ${String(evaluation.every)}`);
    }
    this.#options = options;
    this.#average = average === undefined ? null : new MovingAverage(options.model.namedParameters(), average);
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
      const state = training.state as {
        step: number;
        elapsed: number;
        random: { seed: number; offset: number };
        settings: JsonObject;
        watch?: { best: number | null; since: number };
      };
      requireSame(path, 'model', checkpoint.model.name, description.name);
      requireSame(path, 'model options', checkpoint.model.options, description.options);
      requireSame(path, 'settings', state.settings, settings);
      const log = await readRunLog(join(folder, LOG_FILE), state.step);
      model.loadStateDict(checkpoint.model.state);
      optimizer.loadState(training.optimizer);
      for (const [name, value] of this.#average?.values ?? []) {
        const saved = training.optimizer.tensors.get(AVERAGE + name);
        if (saved === undefined) throw new RangeError(`Expected averaged weights in ${path} but it was written by a run without them`);
        value.assign(saved);
      }
      this.#watch = state.watch ?? { best: null, since: 0 };
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
    while (this.#step < steps && elapsed() < budgetSeconds && signal?.aborted !== true && !this.#exhausted()) {
      const progress = Math.min(1, Math.max(this.#step / steps, elapsed() / budgetSeconds));
      const record = await this.#trainStep(progress);
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
    const stoppedEarly = this.#exhausted() && this.#step < steps;
    return {
      steps: this.#step,
      stoppedEarly,
      aborted: signal?.aborted === true && this.#step < steps && !stoppedEarly,
      history: this.#history,
      checkpoint: path,
    };
  }

  /** True when the last `patience` evaluations brought no new best. */
  #exhausted(): boolean {
    const patience = this.#options.evaluation?.patience;
    return patience !== undefined && this.#watch.since >= patience;
  }

  async #trainStep(progress: number): Promise<StepRecord> {
    const { optimizer, batchSize, schedule, batch, accumulate = 1, clipNorm, evaluation } = this.#options;
    const began = performance.now();
    if (schedule !== undefined) optimizer.learningRate = schedule(this.#step, progress);
    const batches: Batch[] = [];
    for (let k = 0; k < accumulate; k++) batches.push(await batch(this.#step * accumulate + k));
    const { loss, metrics } = tidy(() => {
      const first = this.#gradients(batches[0] as Batch);
      let [total, gradients] = [first.loss, first.gradients];
      if (accumulate > 1) {
        const sum = new GradientAccumulator();
        sum.add(first.gradients);
        for (const data of batches.slice(1)) {
          tidy(() => {
            const part = this.#gradients(data);
            total += part.loss;
            sum.add(part.gradients);
          });
        }
        gradients = sum.take();
      }
      const mean = total / accumulate;
      if (!Number.isFinite(mean)) {
        throw new RangeError(`The loss became ${mean} at step ${this.#step}: lower the learning rate or check the data`);
      }
      optimizer.step(clipNorm === undefined ? gradients : clipByGlobalNorm(gradients, clipNorm).gradients);
      this.#average?.update();
      return { loss: mean, metrics: first.metrics?.(mean) ?? {} };
    });
    this.#step++;
    const samplesPerSecond = (accumulate * batchSize) / ((performance.now() - began) / 1000);
    const watched = evaluation && this.#step % evaluation.every === 0 ? { validation: await this.#evaluate(evaluation) } : {};
    const record: StepRecord = {
      step: this.#step,
      loss,
      learningRate: optimizer.learningRate,
      samplesPerSecond,
      metrics: { ...metrics, ...watched },
    };
    this.#history.push(record);
    this.#unlogged.push(record);
    return record;
  }

  #gradients(data: Batch): {
    loss: number;
    gradients: Map<string, Tensor>;
    metrics: ((loss: number) => Record<string, number>) | undefined;
  } {
    let metrics: ((loss: number) => Record<string, number>) | undefined;
    const { value, gradients } = valueAndGrad(this.#options.model, () => {
      const result = this.#options.loss(this.#options.model, data);
      if ('metrics' in result) {
        metrics = result.metrics;
        return result.loss;
      }
      return result;
    });
    return { loss: value.item(), gradients, metrics };
  }

  async #evaluate({ run, goal = 'min' }: EvaluationOptions): Promise<number> {
    const { model, folder, description } = this.#options;
    const averaged = <T>(body: () => T): T => (this.#average ? this.#average.apply(body) : body());
    model.eval();
    let value: number;
    try {
      value = averaged(() => tidy(() => run(model, this.#step)));
    } finally {
      model.train();
    }
    const { best } = this.#watch;
    const better = Number.isFinite(value) && (best === null || (goal === 'min' ? value < best : value > best));
    this.#watch = better ? { best: value, since: 0 } : { best, since: this.#watch.since + 1 };
    if (better && folder !== undefined) {
      const copies = averaged(
        () => new Map([...model.stateDict()].map(([name, t]) => [name, outsideScopes(() => tensor(t.toTypedArray(), { shape: t.shape }))])),
      );
      await writeCheckpoint(join(folder, BEST_FILE), { model: { ...description, state: copies }, training: null });
      for (const copy of copies.values()) copy.dispose();
    }
    this.emit('evaluation', value, better);
    return value;
  }

  async #save(elapsed: number): Promise<string | null> {
    const { folder, model, optimizer, description, settings = {} } = this.#options;
    if (folder === undefined) return null;
    // The log first: a resumed run cuts it at the checkpoint's step.
    await appendRunLog(join(folder, LOG_FILE), this.#unlogged);
    this.#unlogged = [];
    const path = join(folder, CHECKPOINT_FILE);
    const { seed, offset } = defaultGenerator.state;
    const own = optimizer.state();
    const averages = [...(this.#average?.values ?? [])].map(([name, value]): [string, Tensor] => [AVERAGE + name, value]);
    await writeCheckpoint(path, {
      model: { ...description, state: model.stateDict() },
      training: {
        optimizer: { step: own.step, tensors: new Map([...own.tensors, ...averages]) },
        state: { step: this.#step, elapsed, random: { seed, offset }, settings, watch: this.#watch },
      },
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
