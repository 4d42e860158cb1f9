/** What every optimiser is: parameters, a learning rate, and state that a checkpoint can hold. */
import { DTYPE_CODE, formatShape, outsideScopes, sameShape, type Tensor, zeros } from '../tensor/index.js';

/** A tensor that is updated in place. nn.Parameter is one. */
export interface Trainable {
  value: Tensor;
  trainable: boolean;
}

/** Everything needed to continue: numbers, and tensors by name. */
export interface OptimizerState {
  step: number;
  tensors: Map<string, Tensor>;
}

export abstract class Optimizer {
  protected readonly parameters: Map<string, Trainable>;
  /** May be changed between steps. */
  learningRate: number;
  protected steps = 0;

  constructor(parameters: ReadonlyMap<string, Trainable>, learningRate: number) {
    if (!(learningRate >= 0) || !Number.isFinite(learningRate))
      throw new RangeError(`Expected a finite number >= 0 for learningRate but received ${String(learningRate)}`);
    this.parameters = new Map([...parameters].filter(([, p]) => p.trainable));
    this.learningRate = learningRate;
  }

  /** Updates done so far. */
  get stepCount(): number {
    return this.steps;
  }

  /** One update, in place. @throws RangeError when a gradient is missing or has another shape. Nothing changes then. */
  step(gradients: ReadonlyMap<string, Tensor>): void {
    for (const [name, { value }] of this.parameters) {
      const gradient = gradients.get(name);
      if (gradient === undefined || !sameShape(gradient.shape, value.shape) || gradient.dtype !== value.dtype) {
        throw new RangeError(
          `Expected a gradient ${value.dtype} ${formatShape(value.shape)} for ${name} but received ${gradient === undefined ? 'none' : `${gradient.dtype} ${formatShape(gradient.shape)}`}`,
        );
      }
    }
    this.steps++;
    for (const [name, { value }] of this.parameters) this.update(name, value, gradients.get(name) as Tensor, DTYPE_CODE[value.dtype]);
  }

  protected abstract update(name: string, value: Tensor, gradient: Tensor, dtype: number): void;
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
        throw new RangeError(
          `Expected optimiser state ${value.dtype} ${formatShape(value.shape)} for ${name} but received ${given === undefined ? 'none' : formatShape(given.shape)}`,
        );
      }
    }
    for (const [name, value] of own) value.assign(state.tensors.get(name) as Tensor);
    this.steps = state.step;
  }

  /** Frees the state. */
  dispose(): void {
    for (const value of this.state().tensors.values()) value.dispose();
  }

  /** Zeros like each parameter. */
  protected zeroSlot(): Map<string, Tensor> {
    return outsideScopes(() => new Map([...this.parameters].map(([name, { value }]) => [name, zeros(value.shape, value.dtype)])));
  }
}

/** @throws RangeError unless low <= value < high */
export function checkRange(value: number, low: number, high: number, name: string): number {
  if (!(value >= low && value < high))
    throw new RangeError(`Expected a number in [${low}, ${high}) for ${name} but received ${String(value)}`);
  return value;
}
