/** The training loop: batches, gradients, updates, checkpoints, and continuing from one bit for bit. */
import { EventEmitter } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { deriveSeed } from '../data/random.js';
import { MovingAverage, schedules } from '../optim/index.js';
import { defaultGenerator, outsideScopes, type Tensor, tensor, tidy } from '../tensor/index.js';
import { disposeCheckpoint, type JsonObject, readCheckpoint, writeCheckpoint } from './checkpoint.js';
import type { EvaluationOptions, TrainerEvents, TrainerOptions, TrainingResult } from './options.js';
import { appendRunLog, readRunLog, type StepRecord, writeRunLog } from './run-log.js';
import { Update } from './update.js';

export const CHECKPOINT_FILE = 'last.safetensors';
export const BEST_FILE = 'best.safetensors';
export const LOG_FILE = 'log.jsonl';

/** Prefix of the averaged weights among a checkpoint's optimiser tensors. */
const AVERAGE = 'average.';

/** @throws RangeError for a loss that is not finite: the last checkpoint stays as it is. */
export class Trainer<Batch, Inputs = Batch> extends EventEmitter<TrainerEvents> {
  readonly #options: TrainerOptions<Batch, Inputs>;
  #step = 0;
  /** Seconds of training before this process. */
  #elapsedBefore = 0;
  #history: StepRecord[] = [];
  #unlogged: StepRecord[] = [];
  readonly #average: MovingAverage | null;
  readonly #update: Update<Inputs>;
  readonly #plateau: schedules.Plateau | null;
  /** The optimiser's own rate. */
  readonly #baseRate: number;
  /** The best evaluation so far and how many have passed since. */
  #watch: { best: number | null; since: number } = { best: null, since: 0 };

  constructor(options: TrainerOptions<Batch, Inputs>) {
    super();
    if (!Number.isInteger(options.steps) || options.steps < 1)
      throw new RangeError(`Expected an integer >= 1 for steps but received ${String(options.steps)}`);
    const { accumulate = 1, clipNorm = 1, evaluation, average, plateau } = options;
    if (!Number.isInteger(accumulate) || accumulate < 1)
      throw new RangeError(`Expected an integer >= 1 for accumulate but received ${String(accumulate)}`);
    if (!(clipNorm > 0)) throw new RangeError(`Expected a number > 0 for clipNorm but received ${String(clipNorm)}`);
    if (evaluation && !(Number.isInteger(evaluation.every) && evaluation.every >= 1)) {
      throw new RangeError(`Expected an integer >= 1 for evaluation.every but received ${String(evaluation.every)}`);
    }
    const { patience } = evaluation ?? {};
    if (patience !== undefined && !(Number.isInteger(patience) && patience >= 1)) {
      throw new RangeError(`Expected an integer >= 1 for evaluation.patience but received ${String(patience)}`);
    }
    if (plateau?.every !== undefined && !(Number.isInteger(plateau.every) && plateau.every >= 1)) {
      throw new RangeError(`Expected an integer >= 1 for plateau.every but received ${String(plateau.every)}`);
    }
    this.#options = options;
    this.#plateau = plateau === undefined ? null : new schedules.Plateau(plateau);
    this.#baseRate = options.optimizer.learningRate;
    this.#average = average === undefined ? null : new MovingAverage(options.model.namedParameters(), average);
    const { model, optimizer, loss, randomSeed = (number) => deriveSeed(0, 2, number), capture = false } = options;
    this.#update = new Update({
      model,
      optimizer,
      loss,
      randomSeed,
      clipNorm: options.clipNorm,
      average: this.#average,
      uncaptured: capture ? (reason) => this.emit('uncaptured', reason) : null,
    });
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
    const { folder, model, optimizer, description } = this.#options;
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
        plateau?: schedules.PlateauState;
      };
      requireSame(path, 'model', checkpoint.model.name, description.name);
      requireSame(path, 'model options', checkpoint.model.options, description.options);
      requireSame(path, 'settings', state.settings, this.#settings());
      const log = await readRunLog(join(folder, LOG_FILE), state.step);
      model.loadStateDict(checkpoint.model.state);
      optimizer.loadState(training.optimizer);
      for (const [name, value] of this.#average?.values ?? []) {
        const saved = training.optimizer.tensors.get(AVERAGE + name);
        if (saved === undefined) throw new RangeError(`Expected averaged weights in ${path} but it was written by a run without them`);
        value.assign(saved);
      }
      this.#watch = state.watch ?? { best: null, since: 0 };
      if (this.#plateau && state.plateau) this.#plateau.state = state.plateau;
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
      if (record === null) break;
      const bySteps = (steps - this.#step) * (elapsed() / this.#step);
      this.emit('step', record, Math.min(bySteps, budgetSeconds - elapsed()));
      if (performance.now() - saved > checkpointSeconds * 1000) {
        path = await this.#save(elapsed());
        saved = performance.now();
      }
      // Signals, timers and progress bars get their turn.
      await new Promise((resolve) => setImmediate(resolve));
    }
    const stoppedEarly = this.#exhausted() && this.#step < steps;
    const aborted = signal?.aborted === true && this.#step < steps && !stoppedEarly;
    if (!aborted) await this.#evaluateLast();
    path = await this.#save(elapsed());
    return {
      steps: this.#step,
      stoppedEarly,
      aborted,
      history: this.#history,
      checkpoint: path,
    };
  }

  /** Runs `body` with the averaged weights in the model, or with its own where none are kept. */
  averaged<T>(body: () => T): T {
    return this.#average ? this.#average.apply(body) : body();
  }

  /** Frees the optimiser's state, the averaged weights and recorded updates; the model stays. */
  dispose(): void {
    this.#update.dispose();
    this.#options.optimizer.dispose();
    this.#average?.dispose();
  }

  /** The settings that must not change when the run is resumed. */
  #settings(): JsonObject {
    const { settings = {}, accumulate, clipNorm, average, plateau, evaluation } = this.#options;
    const { every, goal = 'min', patience } = evaluation ?? {};
    const given = { accumulate, clipNorm, average, plateau, ...(evaluation && { evaluation: { every, goal, patience } }) };
    // JSON leaves out what was not given.
    return { ...settings, ...(JSON.parse(JSON.stringify(given)) as JsonObject) };
  }

  /** True when the last `patience` evaluations brought no new best. */
  #exhausted(): boolean {
    const patience = this.#options.evaluation?.patience;
    return patience !== undefined && this.#watch.since >= patience;
  }

  /** One update. Null, with nothing changed, when the signal aborts while a batch is awaited. */
  async #trainStep(progress: number): Promise<StepRecord | null> {
    const { optimizer, batchSize, schedule, accumulate = 1, evaluation } = this.#options;
    const began = performance.now();
    optimizer.learningRate = (schedule?.(this.#step, progress) ?? this.#baseRate) * (this.#plateau?.schedule(this.#step, progress) ?? 1);
    // All of them before anything is computed: statistics and random streams cannot be taken back.
    const batches: Batch[] = [];
    const release = (): void => {
      for (const data of batches.splice(0)) this.#options.release?.(data);
    };
    let result: { loss: number; metrics: Record<string, number> };
    try {
      for (let k = 0; k < accumulate; k++) {
        const received = await this.#receive(this.#step * accumulate + k);
        if (received === null) return null;
        batches.push(received.batch);
      }
      result = tidy(() => {
        const { inputs = (batch: Batch) => batch as unknown as Inputs } = this.#options;
        return this.#update.run(batches.map(inputs), this.#step * accumulate, this.#step);
      });
    } finally {
      release();
    }
    this.#step++;
    const samplesPerSecond = (accumulate * batchSize) / ((performance.now() - began) / 1000);
    const value = evaluation && this.#step % evaluation.every === 0 ? await this.#evaluate(evaluation) : null;
    const record: StepRecord = {
      step: this.#step,
      loss: result.loss,
      learningRate: optimizer.learningRate,
      samplesPerSecond,
      metrics: { ...result.metrics, ...(value !== null && { [evaluation?.name ?? 'validation']: value }) },
    };
    this.#history.push(record);
    this.#unlogged.push(record);
    this.#reportToPlateau(value);
    return record;
  }

  /** The final weights take part in the choice of the best ones, whatever the step that a budget of time ends at. */
  async #evaluateLast(): Promise<void> {
    const { evaluation, folder } = this.#options;
    const last = this.#history.at(-1);
    const name = evaluation?.name ?? 'validation';
    if (evaluation === undefined || last === undefined || name in last.metrics) return;
    const value = await this.#evaluate(evaluation);
    this.#history[this.#history.length - 1] = { ...last, metrics: { ...last.metrics, [name]: value } };
    // The record may be in the log already.
    if (folder !== undefined) await writeRunLog(join(folder, LOG_FILE), this.#history);
    this.#unlogged = [];
  }

  /** The batch of a number, or null when the signal aborts first. */
  async #receive(number: number): Promise<{ batch: Batch } | null> {
    const { batch: make, signal, release } = this.#options;
    const work = make(number);
    if (!(work instanceof Promise)) return { batch: work };
    if (signal === undefined) return { batch: await work };
    let aborted = signal.aborted;
    let onAbort = (): void => {};
    const abort = new Promise<null>((resolve) => {
      onAbort = () => {
        aborted = true;
        resolve(null);
      };
      if (aborted) resolve(null);
      else signal.addEventListener('abort', onAbort);
    });
    const received = work.then((batch) => {
      // Too late to be used.
      if (aborted) release?.(batch);
      return aborted ? null : { batch };
    });
    try {
      return await Promise.race([received, abort]);
    } catch (error) {
      // A source that the same signal closed refuses its batch.
      if (aborted) return null;
      throw error;
    } finally {
      signal.removeEventListener('abort', onAbort);
      received.catch(() => {});
    }
  }

  /** @param value of this step's evaluation, if there was one */
  #reportToPlateau(value: number | null): void {
    const { evaluation, plateau } = this.#options;
    if (this.#plateau === null) return;
    if (evaluation !== undefined) {
      if (value !== null) this.#plateau.report(evaluation.goal === 'max' ? -value : value);
      return;
    }
    const every = plateau?.every ?? 100;
    if (this.#step % every !== 0) return;
    // From the history, which a resumed run has too.
    const window = this.#history.slice(-every);
    this.#plateau.report(window.reduce((sum, { loss }) => sum + loss, 0) / window.length);
  }

  async #evaluate({ run, goal = 'min' }: EvaluationOptions): Promise<number> {
    const { model, folder, description } = this.#options;
    model.eval();
    let value: number;
    try {
      value = this.averaged(() => tidy(() => run(model, this.#step)));
    } finally {
      model.train();
    }
    const { best } = this.#watch;
    const better = Number.isFinite(value) && (best === null || (goal === 'min' ? value < best : value > best));
    this.#watch = better ? { best: value, since: 0 } : { best, since: this.#watch.since + 1 };
    if (better && folder !== undefined) {
      const copies = this.averaged(
        () => new Map([...model.stateDict()].map(([name, t]) => [name, outsideScopes(() => tensor(t.toTypedArray(), { shape: t.shape }))])),
      );
      await writeCheckpoint(join(folder, BEST_FILE), { model: { ...description, state: copies }, training: null });
      for (const copy of copies.values()) copy.dispose();
    }
    this.emit('evaluation', value, better);
    return value;
  }

  async #save(elapsed: number): Promise<string | null> {
    const { folder, model, optimizer, description } = this.#options;
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
        state: {
          step: this.#step,
          elapsed,
          random: { seed, offset },
          settings: this.#settings(),
          watch: this.#watch,
          ...(this.#plateau && { plateau: { ...this.#plateau.state } }),
        },
      },
    });
    this.emit('checkpoint', path);
    return path;
  }
}

/** Compares what a checkpoint was made with and what is given now; the sentence names only what differs. */
function requireSame(path: string, what: string, saved: unknown, wanted: unknown): void {
  if (canonical(saved) === canonical(wanted)) return;
  let [before, now] = [saved, wanted];
  if (isObject(saved) && isObject(wanted)) {
    const differing = [...new Set([...Object.keys(saved), ...Object.keys(wanted)])].filter(
      (k) => canonical(saved[k]) !== canonical(wanted[k]),
    );
    const pick = (from: Record<string, unknown>): unknown => Object.fromEntries(differing.map((key) => [key, from[key] ?? null]));
    [before, now] = [pick(saved), pick(wanted)];
  }
  throw new RangeError(`Expected to resume with the ${what} of ${path}, ${canonical(before)}, but received ${canonical(now)}`);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

/** JSON with the keys in order. */
function canonical(value: unknown): string {
  return JSON.stringify(value ?? null, (_key, v: unknown) =>
    isObject(v) ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1))) : v,
  );
}
