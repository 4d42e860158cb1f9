/** One update of a training run, from the tensors of its batches: losses, mean gradient, clipping, optimiser, moving average. */
import { flatten, type Tree, underlying } from '../autodiff/index.js';
import { device } from '../backend/index.js';
import { type Module, valueAndGrad } from '../nn/index.js';
import { GradientAccumulator, type MovingAverage, type Optimizer } from '../optim/index.js';
import { Generator, type Tensor, tidy } from '../tensor/index.js';
import { type CapturedStep, capture } from './capture.js';
import type { TrainerOptions } from './options.js';

export interface UpdateOptions<Inputs> {
  model: Module;
  optimizer: Optimizer;
  loss: TrainerOptions<never, Inputs>['loss'];
  randomSeed: (number: number) => number;
  clipNorm: number | undefined;
  average: MovingAverage | null;
  /** Null: every update runs as it is. Otherwise it is recorded on the GPU, and this hears why not, where it cannot be. */
  uncaptured: ((reason: string) => void) | null;
}

/** What an update leaves for the host to read. */
interface Outcome {
  /** A number for each batch. */
  losses: Tensor[];
  /** Of the first batch. */
  values: Record<string, Tensor>;
}

/** Recordings kept at a time, one for every shape of the inputs. */
const MOST_RECORDINGS = 8;

export class Update<Inputs> {
  readonly #options: UpdateOptions<Inputs>;
  /** The random numbers of each batch of an update. Always the same objects: a recording names them. */
  readonly #random: Generator[] = [];
  /** The last loss function's say on the log. What changes from step to step comes to it as arguments. */
  #metrics: ((loss: number, values: Record<string, number>) => Record<string, number>) | undefined;
  #capturing: boolean;
  readonly #recorded = new Map<string, CapturedStep<Tensor[], Outcome & Record<string, Tree>>>();

  constructor(options: UpdateOptions<Inputs>) {
    this.#options = options;
    this.#capturing = options.uncaptured !== null;
  }

  /**
   * @param inputs of each batch; their gradients are averaged
   * @param first the number of the first of them
   * @param step for the error
   * @returns the mean loss and the log's metrics
   * @throws RangeError for a loss that is not finite; on the CPU nothing has changed then
   */
  run(inputs: readonly Inputs[], first: number, step: number): { loss: number; metrics: Record<string, number> } {
    return tidy(() => {
      for (const k of inputs.keys()) {
        this.#random[k] ??= new Generator();
        this.#random[k].state = { seed: this.#options.randomSeed(first + k), offset: 0 };
      }
      if (this.#capturing && device() === 'cpu') this.#giveUp('the CPU runs every step itself');
      const { losses, values } = this.#capturing ? this.#replay(inputs) : this.#compute(inputs, step);
      const loss = meanLoss(losses, step);
      const numbers = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, value.item()]));
      return { loss, metrics: this.#metrics?.(loss, numbers) ?? numbers };
    });
  }

  dispose(): void {
    for (const recorded of this.#recorded.values()) recorded.dispose();
    this.#recorded.clear();
  }

  #giveUp(reason: string): void {
    this.#capturing = false;
    this.#options.uncaptured?.(reason);
  }

  #replay(inputs: readonly Inputs[]): Outcome {
    const { leaves, rebuild } = flatten(inputs as readonly Tree[]);
    const key = leaves.map(({ dtype, shape }) => `${dtype} ${shape.join('x')}`).join();
    let recorded = this.#recorded.get(key);
    if (recorded === undefined) {
      const [oldest] = this.#recorded;
      if (oldest !== undefined && this.#recorded.size >= MOST_RECORDINGS) {
        oldest[1].dispose();
        this.#recorded.delete(oldest[0]);
      }
      recorded = capture(
        (...tensors: Tensor[]): Outcome & Record<string, Tree> => ({ ...this.#compute(rebuild(tensors) as readonly Inputs[], null) }),
        { fallback: (reason) => this.#giveUp(reason) },
      );
      this.#recorded.set(key, recorded);
    }
    return recorded(...leaves);
  }

  /** The device's part. @param step null: the host cannot look at the losses before the update */
  #compute(inputs: readonly Inputs[], step: number | null): Outcome {
    const { optimizer, clipNorm, average } = this.#options;
    return tidy(() => {
      const [first, ...others] = inputs.keys();
      const { loss, gradients: own, values } = this.#gradients(inputs, first as number);
      const losses = [loss];
      let gradients = own;
      if (others.length > 0) {
        const sum = new GradientAccumulator();
        try {
          sum.add(own);
          for (const k of others) {
            losses.push(
              tidy(() => {
                const part = this.#gradients(inputs, k);
                sum.add(part.gradients);
                return part.loss;
              }),
            );
          }
          gradients = sum.take();
        } finally {
          sum.dispose();
        }
      }
      // The CPU has them by now; waiting for a GPU here would leave it without work.
      if (step !== null && device() === 'cpu') meanLoss(losses, step);
      optimizer.step(gradients, clipNorm === undefined ? {} : { clipNorm });
      average?.update();
      return { losses, values };
    });
  }

  #gradients(inputs: readonly Inputs[], k: number): { loss: Tensor; gradients: Map<string, Tensor>; values: Record<string, Tensor> } {
    const { model, loss } = this.#options;
    const values: Record<string, Tensor> = {};
    const { value, gradients } = valueAndGrad(model, () => {
      const result = loss(model, inputs[k] as Inputs, this.#random[k] as Generator);
      if (!('loss' in result)) return result;
      if (k === 0) {
        this.#metrics = result.metrics;
        for (const [name, number] of Object.entries(result.values ?? {})) {
          const known = underlying(number);
          if (known === null) throw new TypeError(`Expected a value for ${name} but received a tangent`);
          values[name] = known;
        }
      }
      return result.loss;
    });
    return { loss: value, gradients, values };
  }
}

/** @throws RangeError unless it is finite */
function meanLoss(losses: readonly Tensor[], step: number): number {
  const loss = losses.reduce((total, part) => total + part.item(), 0) / losses.length;
  if (!Number.isFinite(loss)) {
    throw new RangeError(`The loss became ${loss} at step ${step}: lower the learning rate or check the data`);
  }
  return loss;
}
