/** What every optimiser is: parameters in groups, a learning rate, projections, and state that a checkpoint can hold. */
import { type Address, kernels, recording } from '../backend/index.js';
import { formatShape, outsideScopes, sameShape, Tensor, tidy, zeros } from '../tensor/index.js';
import { PartTable, withNumbersOn } from './parts.js';

/** A tensor that is updated in place. nn.Parameter is one. */
export interface Trainable {
  value: Tensor;
  trainable: boolean;
}

/** Settings for the parameters whose names match; the first matching group counts. */
export interface ParameterGroup {
  /** Names (paths), by pattern or predicate. */
  match: RegExp | ((name: string) => boolean);
  /** Factor on the optimiser's learning rate. Default 1. */
  learningRateScale?: number;
  /** Instead of the optimiser's weight decay. */
  weightDecay?: number;
  /** Maps the parameter back to its constraint after every step (see `projections`). */
  project?: (value: Tensor) => Tensor;
}

export interface OptimizerOptions {
  learningRate?: number;
  weightDecay?: number;
  groups?: readonly ParameterGroup[];
}

/** Everything needed to continue: numbers, and tensors by name. */
export interface OptimizerState {
  step: number;
  tensors: Map<string, Tensor>;
}

/** @throws RangeError unless low <= value < high */
export function checkRange(value: number, low: number, high: number, name: string): number {
  if (!(value >= low && value < high))
    throw new RangeError(`Expected a number in [${low}, ${high}) for ${name} but received ${String(value)}`);
  return value;
}

export interface StepOptions {
  /** Gradients whose global norm is larger are scaled down to it, without the host reading the norm. Default: unlimited. */
  clipNorm?: number;
}

/** The numbers of an update that all parameters of a group share: what the optimiser's kernel in native/backend.h names. */
export type Rates = readonly [number, number, number, number];

interface Member extends Trainable {
  project: ((value: Tensor) => Tensor) | undefined;
  /** Index into the settings. */
  group: number;
}

/** What parameters of one group share. */
interface Setting {
  scale: number;
  decay: number;
}

export abstract class Optimizer {
  readonly #members: ReadonlyMap<string, Member>;
  readonly #settings: Setting[] = [];
  readonly #rates: Float64Array;
  readonly #table: PartTable;
  /** May be changed between steps. */
  learningRate: number;
  protected steps = 0;

  constructor(
    parameters: ReadonlyMap<string, Trainable>,
    options: OptimizerOptions,
    defaults: { learningRate: number; weightDecay: number },
  ) {
    this.learningRate = checkRange(options.learningRate ?? defaults.learningRate, 0, Number.POSITIVE_INFINITY, 'learningRate');
    const decay = checkRange(options.weightDecay ?? defaults.weightDecay, 0, Number.POSITIVE_INFINITY, 'weightDecay');
    const groups = options.groups ?? [];
    const members = new Map<string, Member>();
    const used = new Set<ParameterGroup>();
    for (const [name, parameter] of parameters) {
      if (!parameter.trainable) continue;
      const group = groups.find(({ match }) => (match instanceof RegExp ? match.test(name) : match(name)));
      if (group) used.add(group);
      const setting = {
        scale: checkRange(group?.learningRateScale ?? 1, 0, Number.POSITIVE_INFINITY, 'learningRateScale'),
        decay: checkRange(group?.weightDecay ?? decay, 0, Number.POSITIVE_INFINITY, 'weightDecay'),
      };
      const known = this.#settings.findIndex((other) => other.scale === setting.scale && other.decay === setting.decay);
      members.set(name, {
        // The live parameter: its tensor may be replaced between steps.
        get value() {
          return parameter.value;
        },
        trainable: true,
        project: group?.project,
        group: known < 0 ? this.#settings.push(setting) - 1 : known,
      });
    }
    const idle = groups.find((group) => !used.has(group));
    if (idle) throw new RangeError(`Expected every group to match a parameter but received one that matches none: ${String(idle.match)}`);
    this.#members = members;
    this.#rates = new Float64Array(kernels.RATES * this.#settings.length);
    this.#table = new PartTable(members.size);
  }

  /** Updates done so far. */
  get stepCount(): number {
    return this.steps;
  }

  /**
   * One update, in place, then the projections.
   * @throws RangeError when a gradient is missing or has another shape. Nothing changes then.
   */
  step(gradients: ReadonlyMap<string, Tensor>, { clipNorm }: StepOptions = {}): void {
    if (clipNorm !== undefined && !(clipNorm > 0))
      throw new RangeError(`Expected a number > 0 for clipNorm but received ${String(clipNorm)}`);
    const [first, second] = this.slots().values();
    let row = 0;
    for (const [name, { value, group }] of this.#members) {
      const gradient = gradients.get(name);
      if (gradient === undefined || !sameShape(gradient.shape, value.shape) || gradient.dtype !== value.dtype) {
        const received = gradient === undefined ? 'none' : `${gradient.dtype} ${formatShape(gradient.shape)}`;
        throw new RangeError(`Expected a gradient ${value.dtype} ${formatShape(value.shape)} for ${name} but received ${received}`);
      }
      this.#table.set(row++, value, { value, source: gradient, first: first?.get(name), second: second?.get(name), group });
    }
    this.steps++;
    if (row === 0) return;
    tidy(() => {
      const { parts } = this.#table;
      const [{ value }] = this.#members.values() as unknown as readonly [Member];
      let factor: Address = 0;
      if (clipNorm !== undefined) {
        const norm = Tensor.empty('float64', [2], value.device);
        kernels.globalNorm(parts, clipNorm, norm.address);
        factor = norm.address + Float64Array.BYTES_PER_ELEMENT;
      }
      this.#withRates(value.device, (rates) => this.update(parts, rates, factor));
      for (const { value, project } of this.#members.values()) {
        const projected = project?.(value) ?? value;
        if (projected !== value) value.assign(projected);
      }
    });
  }

  /** Updates every part. rates: float64, a row for each group, factor: 0 or one float64, both in memory of the parameters' device. */
  protected abstract update(parts: kernels.Parts, rates: Address, factor: Address): void;
  /** The numbers of a group for the step that `steps` counts. */
  protected abstract rates(learningRate: number, decay: number): Rates;
  /** The state: a tensor like each parameter in every slot, in the order in which the kernel takes them; at most two. */
  protected abstract slots(): Map<string, Map<string, Tensor>>;

  /** The live state: copy it before the next step. */
  state(): OptimizerState {
    const tensors = new Map<string, Tensor>();
    for (const [slot, values] of this.slots()) for (const [name, value] of values) tensors.set(`${slot}.${name}`, value);
    return { step: this.steps, tensors };
  }

  /** @throws RangeError when the tensors are not those of this optimiser's parameters */
  loadState(state: OptimizerState): void {
    const own = this.state().tensors;
    if (!Number.isInteger(state.step) || state.step < 0)
      throw new RangeError(`Expected an integer >= 0 for step but received ${String(state.step)}`);
    for (const [name, value] of own) {
      const given = state.tensors.get(name);
      if (given === undefined || !sameShape(given.shape, value.shape) || given.dtype !== value.dtype) {
        const received = given === undefined ? 'none' : formatShape(given.shape);
        throw new RangeError(`Expected optimiser state ${value.dtype} ${formatShape(value.shape)} for ${name} but received ${received}`);
      }
    }
    for (const [name, value] of own) value.assign(state.tensors.get(name) as Tensor);
    this.steps = state.step;
  }

  /** Frees the state. */
  dispose(): void {
    for (const value of this.state().tensors.values()) value.dispose();
  }

  /** Calls `body` with the address of every group's rates. Inside a captured step every replay counts as a step and finds new ones there. */
  #withRates(device: Tensor['device'], body: (rates: Address) => void): void {
    const write = (into: Float64Array): void => {
      for (const [group, { scale, decay }] of this.#settings.entries()) {
        into.set(this.rates(this.learningRate * scale, decay), kernels.RATES * group);
      }
    };
    const record = recording();
    if (record === null) {
      write(this.#rates);
      withNumbersOn(device, this.#rates, body);
      return;
    }
    const addresses = new Map([...this.#members].map(([name, { value }]) => [name, value.address]));
    record.onReplay({
      run: () => {
        for (const [name, { value }] of this.#members) {
          if (value.address !== addresses.get(name)) {
            throw new Error(`Expected ${name} to keep the tensor with which its step was captured but received another: use assign()`);
          }
        }
        this.steps++;
      },
      undo: () => void this.steps--,
    });
    body(record.numbers(this.#rates.length, write));
  }

  /** Zeros like each parameter. */
  protected zeroSlot(): Map<string, Tensor> {
    return outsideScopes(() => new Map([...this.#members].map(([name, { value }]) => [name, zeros(value.shape, value.dtype)])));
  }
}
