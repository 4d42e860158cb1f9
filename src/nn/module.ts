/** Modules: named, trainable parameters and the functions that use them. */
import { linearize, zeroTangent } from '../autodiff/index.js';
import { formatShape, full, isFloat, outsideScopes, sameShape, Tensor } from '../tensor/index.js';

/** A tensor that an optimiser changes in place. While it is being differentiated its `value` stands for the tensor. */
export class Parameter {
  value: Tensor;
  trainable: boolean;

  constructor(value: Tensor, options: { trainable?: boolean } = {}) {
    if (!(value instanceof Tensor) || !isFloat(value.dtype)) throw new TypeError('Expected a floating-point tensor for a parameter');
    this.value = value;
    this.trainable = options.trainable ?? true;
  }
}

/** State that is saved with the parameters but not trained (running means). */
export class Buffer {
  constructor(public value: Tensor) {}
}

/** Something with a forward function, parameters, buffers and submodules, all found among its properties (and arrays in them). */
export abstract class Module {
  /** False after `eval()`: layers that behave differently in training read it. */
  training = true;

  /** The result owns its memory; everything made on the way is freed. */
  abstract forward(x: Tensor): Tensor;

  /** Parameters by path, e.g. `body.0.weight`, in the order of definition. */
  namedParameters(): Map<string, Parameter> {
    return collect(this, Parameter);
  }

  namedBuffers(): Map<string, Buffer> {
    return collect(this, Buffer);
  }

  /** This module and all below it, by path ('' is this one). */
  namedModules(): Map<string, Module> {
    const found = new Map<string, Module>([['', this]]);
    walk(this, '', (path, value) => {
      if (value instanceof Module) found.set(path, value);
    });
    return found;
  }

  /** Number of trained values. */
  get parameterCount(): number {
    let n = 0;
    for (const { value, trainable } of this.namedParameters().values()) if (trainable) n += value.size;
    return n;
  }

  train(training = true): this {
    for (const module of this.namedModules().values()) module.training = training;
    return this;
  }

  eval(): this {
    return this.train(false);
  }

  /** Parameters and buffers by path: the live tensors, not copies. */
  stateDict(): Map<string, Tensor> {
    const state = new Map<string, Tensor>();
    for (const [name, { value }] of this.namedParameters()) state.set(name, value);
    for (const [name, { value }] of this.namedBuffers()) state.set(name, value);
    return state;
  }

  /**
   * Replaces parameters and buffers by copies of the given tensors. All is checked before anything changes.
   * @throws RangeError that lists missing and unexpected names, and the first shape that does not fit
   */
  loadStateDict(state: ReadonlyMap<string, Tensor>): void {
    const slots = new Map<string, Parameter | Buffer>([...this.namedParameters(), ...this.namedBuffers()]);
    const missing = [...slots.keys()].filter((name) => !state.has(name));
    const unexpected = [...state.keys()].filter((name) => !slots.has(name));
    if (missing.length > 0 || unexpected.length > 0) {
      const part = (label: string, names: string[]): string[] =>
        names.length === 0 ? [] : [`${label} ${names.slice(0, 5).join(', ')}${names.length > 5 ? ', …' : ''}`];
      throw new RangeError(
        `Expected the tensors of this module but received others: ${[...part('missing', missing), ...part('unexpected', unexpected)].join('; ')}`,
      );
    }
    for (const [name, slot] of slots) {
      const value = state.get(name) as Tensor;
      if (!sameShape(value.shape, slot.value.shape) || value.dtype !== slot.value.dtype) {
        throw new RangeError(
          `Expected ${slot.value.dtype} ${formatShape(slot.value.shape)} for ${name} but received ${value.dtype} ${formatShape(value.shape)}`,
        );
      }
    }
    for (const [name, slot] of slots) slot.value.assign(state.get(name) as Tensor);
  }

  /** Frees the parameters and buffers. */
  dispose(): void {
    for (const value of this.stateDict().values()) value.dispose();
  }
}

function walk(node: object, path: string, visit: (path: string, value: unknown) => void): void {
  for (const [key, value] of Object.entries(node)) {
    const here = path === '' ? key : `${path}.${key}`;
    if (value instanceof Parameter || value instanceof Buffer) visit(here, value);
    else if (value instanceof Module) {
      visit(here, value);
      walk(value, here, visit);
    } else if (Array.isArray(value)) walk(value, here, visit);
  }
}

function collect<T>(root: Module, type: abstract new (...args: never[]) => T): Map<string, T> {
  const found = new Map<string, T>();
  walk(root, '', (path, value) => {
    if (value instanceof type) found.set(path, value);
  });
  return found;
}

/** A parameter that outlives every scope. */
export function parameter(make: () => Tensor, options: { trainable?: boolean } = {}): Parameter {
  return new Parameter(outsideScopes(make), options);
}

/** A parameter of equal values. */
export function constantParameter(shape: readonly number[], value: number, options: { trainable?: boolean } = {}): Parameter {
  return parameter(() => full(shape, value), options);
}

/**
 * The value of `loss()` and its gradients in the model's trainable parameters.
 * @param loss computes one number with the model; it is called once
 * @returns `value`, and `gradients` by parameter path
 */
export function valueAndGrad(model: Module, loss: () => Tensor): { value: Tensor; gradients: Map<string, Tensor> } {
  const trained = [...model.namedParameters()].filter(([, p]) => p.trainable);
  const originals = trained.map(([, p]) => p.value);
  const { outputs, map } = linearize((leaves) => {
    try {
      trained.forEach(([, p], i) => {
        p.value = leaves[i] as Tensor;
      });
      const result = loss();
      if (!(result instanceof Tensor) || result.size !== 1 || !isFloat(result.dtype)) {
        throw new TypeError('Expected a loss function that returns one floating-point number');
      }
      return [result];
    } finally {
      trained.forEach(([, p], i) => {
        p.value = originals[i] as Tensor;
      });
    }
  }, originals);
  const value = outputs[0] as Tensor;
  const one = full(value.shape, 1, value.dtype);
  const cotangents = map.transpose([one], true);
  one.dispose();
  return { value, gradients: new Map(trained.map(([name, p], i) => [name, cotangents[i] ?? zeroTangent(p.value)])) };
}
