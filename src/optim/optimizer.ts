/** What every optimiser is: parameters in groups, a learning rate, projections, and state that a checkpoint can hold. */
import { type Address, recording } from '../backend/index.js';
import { DTYPE_CODE, formatShape, outsideScopes, sameShape, type Tensor, tidy, zeros } from '../tensor/index.js';

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

/** What an update of one parameter needs besides the tensors. */
export interface UpdateSetting {
  dtype: number;
  learningRate: number;
  decay: number;
  /** 0, or where a captured step finds the numbers of `writeRates` on the device. */
  rates: Address;
}

interface Member extends Trainable {
  scale: number;
  decay: number;
  project: ((value: Tensor) => Tensor) | undefined;
}

export abstract class Optimizer {
  protected readonly parameters: ReadonlyMap<string, Member>;
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
      members.set(name, {
        // The live parameter: its tensor may be replaced between steps.
        get value() {
          return parameter.value;
        },
        trainable: true,
        scale: checkRange(group?.learningRateScale ?? 1, 0, Number.POSITIVE_INFINITY, 'learningRateScale'),
        decay: checkRange(group?.weightDecay ?? decay, 0, Number.POSITIVE_INFINITY, 'weightDecay'),
        project: group?.project,
      });
    }
    const idle = groups.find((group) => !used.has(group));
    if (idle) throw new RangeError(`Expected every group to match a parameter but received one that matches none: ${String(idle.match)}`);
    this.parameters = members;
  }

  /** Updates done so far. */
  get stepCount(): number {
    return this.steps;
  }

  /** One update, in place, then the projections. @throws RangeError when a gradient is missing or has another shape. Nothing changes then. */
  step(gradients: ReadonlyMap<string, Tensor>): void {
    for (const [name, { value }] of this.parameters) {
      const gradient = gradients.get(name);
      if (gradient === undefined || !sameShape(gradient.shape, value.shape) || gradient.dtype !== value.dtype) {
        const received = gradient === undefined ? 'none' : `${gradient.dtype} ${formatShape(gradient.shape)}`;
        throw new RangeError(`Expected a gradient ${value.dtype} ${formatShape(value.shape)} for ${name} but received ${received}`);
      }
    }
    this.steps++;
    const ratesOf = this.#recordedRates();
    for (const [name, { value, scale, decay, project }] of this.parameters) {
      this.update(name, value, gradients.get(name) as Tensor, {
        dtype: DTYPE_CODE[value.dtype],
        learningRate: this.learningRate * scale,
        decay,
        rates: ratesOf(scale, decay),
      });
      if (project) {
        tidy(() => {
          const projected = project(value);
          if (projected !== value) value.assign(projected);
        });
      }
    }
  }

  protected abstract update(name: string, value: Tensor, gradient: Tensor, setting: UpdateSetting): void;
  /** Writes the three numbers of an update that depend on the learning rate and on how many steps were done. */
  protected abstract writeRates(into: Float64Array, address: Address, setting: { learningRate: number; decay: number }): void;
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

  /** Inside a captured step: every replay counts as a step and reads the learning rate anew. */
  #recordedRates(): (scale: number, decay: number) => Address {
    const record = recording();
    if (record === null) return () => 0;
    const addresses = new Map([...this.parameters].map(([name, { value }]) => [name, value.address]));
    record.onReplay({
      run: () => {
        for (const [name, { value }] of this.parameters) {
          if (value.address !== addresses.get(name)) {
            throw new Error(`Expected ${name} to keep the tensor with which its step was captured but received another: use assign()`);
          }
        }
        this.steps++;
      },
      undo: () => void this.steps--,
    });
    const known = new Map<string, Address>();
    return (scale, decay) => {
      const key = `${scale} ${decay}`;
      const rates =
        known.get(key) ?? record.numbers(3, (into, at) => this.writeRates(into, at, { learningRate: this.learningRate * scale, decay }));
      known.set(key, rates);
      return rates;
    };
  }

  /** Zeros like each parameter. */
  protected zeroSlot(): Map<string, Tensor> {
    return outsideScopes(() => new Map([...this.parameters].map(([name, { value }]) => [name, zeros(value.shape, value.dtype)])));
  }
}
