/** What can be done to gradients and weights between the steps: clipping, accumulation, moving averages. */
import { kernels } from '../backend/index.js';
import { add, mul } from '../ops/index.js';
import { isFloat, outsideScopes, Tensor, tidy } from '../tensor/index.js';
import type { Trainable } from './optimizer.js';
import { PartTable } from './parts.js';

/** The Euclidean norm of all gradients together, summed in float64. */
export function globalNorm(gradients: ReadonlyMap<string, Tensor>): number {
  const table = new PartTable(gradients.size);
  let row = 0;
  for (const [name, source] of gradients) {
    if (!isFloat(source.dtype)) throw new TypeError(`Expected float32 or float64 for the gradient of ${name} but received ${source.dtype}`);
    table.set(row++, source, { source });
  }
  const [first] = gradients.values();
  if (first === undefined) return 0;
  return tidy(() => {
    const result = Tensor.empty('float64', [2], first.device);
    kernels.globalNorm(table.parts, Number.POSITIVE_INFINITY, result.address);
    return result.toTypedArray()[0] as number;
  });
}

/**
 * Gradients scaled so that their global norm is at most `limit`. Returns them and the norm before, which the host waits for;
 * `optimizer.step(gradients, { clipNorm })` does the same without.
 */
export function clipByGlobalNorm(gradients: ReadonlyMap<string, Tensor>, limit: number): { gradients: Map<string, Tensor>; norm: number } {
  if (!(limit > 0)) throw new RangeError(`Expected a number > 0 for limit but received ${String(limit)}`);
  const norm = globalNorm(gradients);
  const scale = norm > limit ? limit / norm : 1;
  return { gradients: new Map([...gradients].map(([name, g]) => [name, scale === 1 ? g : mul(g, scale)])), norm };
}

/** The mean of the gradients of several batches. */
export class GradientAccumulator {
  #sum = new Map<string, Tensor>();
  #count = 0;

  /** Adds one batch's gradients. */
  add(gradients: ReadonlyMap<string, Tensor>): void {
    outsideScopes(() => {
      for (const [name, g] of gradients) {
        const old = this.#sum.get(name);
        this.#sum.set(name, old === undefined ? mul(g, 1) : add(old, g));
        old?.dispose();
      }
    });
    this.#count++;
  }

  get count(): number {
    return this.#count;
  }

  /** The mean since the last call; starts again. The caller owns the tensors. */
  take(): Map<string, Tensor> {
    if (this.#count === 0) throw new Error('Expected at least one batch of gradients but received none');
    const mean = new Map([...this.#sum].map(([name, g]) => [name, mul(g, 1 / this.#count)]));
    this.dispose();
    return mean;
  }

  dispose(): void {
    for (const g of this.#sum.values()) g.dispose();
    this.#sum = new Map();
    this.#count = 0;
  }
}

/** An exponential moving average of parameters. */
export class MovingAverage {
  readonly #average: Map<string, Tensor>;
  readonly #table: PartTable;

  constructor(
    private readonly parameters: ReadonlyMap<string, Trainable>,
    private readonly decay = 0.999,
  ) {
    if (!(decay >= 0 && decay < 1)) throw new RangeError(`Expected a number in [0, 1) for decay but received ${String(decay)}`);
    this.#table = new PartTable(parameters.size);
    this.#average = outsideScopes(() => new Map([...parameters].map(([name, { value }]) => [name, mul(value, 1)])));
  }

  /** Call after every step. */
  update(): void {
    let row = 0;
    for (const [name, { value }] of this.parameters) {
      this.#table.set(row++, value, { value: this.#average.get(name), source: value });
    }
    kernels.movingAverage(this.#table.parts, this.decay);
  }

  /** The averages by parameter name: live tensors. */
  get values(): ReadonlyMap<string, Tensor> {
    return this.#average;
  }

  /** Runs `body` with the averages in place of the parameters. */
  apply<T>(body: () => T): T {
    const swap = (): void => {
      for (const [name, parameter] of this.parameters) {
        const average = this.#average.get(name) as Tensor;
        this.#average.set(name, parameter.value);
        parameter.value = average;
      }
    };
    swap();
    try {
      return body();
    } finally {
      swap();
    }
  }

  dispose(): void {
    for (const value of this.#average.values()) value.dispose();
  }
}
