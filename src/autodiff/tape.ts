/** Linearisation: a record of the linear operations that tangents go through, and its transposition (reverse mode). */
import { adopt, isFloat, type Tensor, tidy } from '../tensor/index.js';
import { Dual, JvpTrace } from './jvp.js';
import { type Aval, type Primitive, sumTangents, type Tangent, Trace, Tracer, withLevels, zeroTangent } from './primitive.js';

/** An output of a recorded operation, or an input of the record (node = -1). */
class LinearValue extends Tracer {
  constructor(
    trace: LinearTrace,
    readonly node: number,
    readonly output: number,
    aval: Aval,
  ) {
    super(trace, aval);
  }

  override alias(): LinearValue {
    return this;
  }
  override own(): LinearValue {
    return this;
  }
  override dispose(): void {}
  override heldValues(): readonly unknown[] {
    return [];
  }
}

interface Node {
  primitive: Primitive<unknown>;
  /** Linear values of this record, and the record's own handles on everything else. */
  inputs: Tensor[];
  params: unknown;
  outputs: Aval[];
}

/**
 * What made a value that is being recorded: a rule that fuses two neighbouring operations looks at it. Null for inputs of the record and
 * for all other values.
 */
export function producerOf(value: Tensor): { primitive: Primitive<unknown>; params: unknown } | null {
  return value instanceof LinearValue && value.node >= 0 ? ((value.trace as LinearTrace).nodes[value.node] ?? null) : null;
}

/** Records primitives applied to linear values. */
class LinearTrace extends Trace {
  readonly nodes: Node[] = [];

  override process<P>(primitive: Primitive<P>, inputs: readonly Tensor[], params: P): Tensor[] {
    if (primitive.linear === undefined)
      throw new Error(`"${primitive.name}" was applied to a tangent but is not linear: a jvp rule is wrong`);
    const outputs = primitive.shape(inputs, params);
    const node = this.nodes.length;
    this.nodes.push({
      primitive: primitive as Primitive<unknown>,
      inputs: inputs.map((input) => (this.owns(input) ? input : input.alias())),
      params,
      outputs,
    });
    return outputs.map((aval, i) => new LinearValue(this, node, i, aval));
  }

  owns(value: Tensor): value is LinearValue {
    return value instanceof LinearValue && value.trace === this;
  }
}

/** Cotangents while a record is being transposed. Each slot has its own handle. */
class Slots {
  readonly #slots = new Map<string, Tensor>();

  add(value: LinearValue, cotangent: Tensor): void {
    const key = `${value.node}:${value.output}`;
    const old = this.#slots.get(key);
    if (old === undefined) {
      this.#slots.set(key, cotangent.alias());
      return;
    }
    const total = tidy(() => [(sumTangents(old, cotangent) as Tensor).alias()])[0] as Tensor;
    old.dispose();
    this.#slots.set(key, total);
  }

  take(node: number, output: number): Tensor | null {
    const key = `${node}:${output}`;
    const value = this.#slots.get(key) ?? null;
    this.#slots.delete(key);
    return value;
  }

  dispose(): void {
    for (const value of this.#slots.values()) value.dispose();
    this.#slots.clear();
  }
}

const forgotten = new FinalizationRegistry<Node[]>((nodes) => {
  for (const node of nodes) for (const input of node.inputs) input.dispose();
});

/** The linear map from tangents of the inputs to tangents of the outputs, at a point. */
export class LinearMap {
  readonly #trace: LinearTrace;
  readonly #inputs: readonly Aval[];
  readonly #outputs: readonly Tangent[];
  #disposed = false;

  /** @internal */
  constructor(trace: LinearTrace, inputs: readonly Aval[], outputs: readonly Tangent[]) {
    this.#trace = trace;
    this.#inputs = inputs;
    this.#outputs = outputs;
    if (!adopt(this)) forgotten.register(this, trace.nodes, this);
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  leaveScopes(): void {
    forgotten.register(this, this.#trace.nodes, this);
  }

  /** Frees the recorded values. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    forgotten.unregister(this);
    for (const node of this.#trace.nodes) for (const input of node.inputs) input.dispose();
    this.#trace.nodes.length = 0;
  }

  /**
   * Cotangents of the inputs (null: exactly zero). `consume` frees each recorded value as soon as it has been used, which halves the
   * memory of a training step; the map cannot be used again.
   */
  transpose(cotangents: readonly Tensor[], consume: boolean): Tangent[] {
    if (this.#disposed) throw new Error('Expected a live pullback but received one that was disposed');
    const slots = new Slots();
    this.#outputs.forEach((output, i) => {
      if (output !== null) slots.add(output as LinearValue, cotangents[i] as Tensor);
    });
    const nodes = this.#trace.nodes;
    try {
      for (let n = nodes.length - 1; n >= 0; n--) {
        const node = nodes[n] as Node;
        const incoming = node.outputs.map((_, i) => slots.take(n, i));
        if (incoming.some((cotangent) => cotangent !== null)) {
          tidy(() => {
            const full = incoming.map((cotangent, i) => cotangent ?? zeroTangent(node.outputs[i] as Aval));
            const isLinear = (i: number): boolean => this.#trace.owns(node.inputs[i] as Tensor);
            const linear = node.primitive.linear as NonNullable<typeof node.primitive.linear>;
            linear.transpose(full, node.inputs, node.params, isLinear).forEach((cotangent, i) => {
              if (cotangent !== null && isLinear(i)) slots.add(node.inputs[i] as LinearValue, cotangent);
            });
          });
          for (const cotangent of incoming) cotangent?.dispose();
        }
        if (consume) {
          for (const input of node.inputs) input.dispose();
          nodes.length = n;
        }
      }
      return this.#inputs.map((_, i) => {
        const slot = slots.take(-1, i);
        if (slot === null) return null;
        // From the slot's private handle to one that belongs to the caller's scope.
        const owned = slot.own();
        slot.dispose();
        return owned;
      });
    } finally {
      slots.dispose();
      if (consume) this.dispose();
    }
  }
}

/** Runs `f` on duals whose tangents are recorded. */
export function linearize(f: (inputs: Tensor[]) => Tensor[], primals: readonly Tensor[]): { outputs: Tensor[]; map: LinearMap } {
  return withLevels(2, (level) => {
    const recorder = new LinearTrace(level);
    const trace = new JvpTrace(level + 1);
    try {
      const inputs = primals.map((primal, i) =>
        isFloat(primal.dtype) ? new Dual(trace, primal, new LinearValue(recorder, -1, i, primal)) : primal,
      );
      const results = f(inputs).map((value) => trace.unpack(value));
      const tangents = results.map((r) => (r.tangent !== null && recorder.owns(r.tangent) ? r.tangent : null));
      return { outputs: results.map((r) => r.primal), map: new LinearMap(recorder, primals, tangents) };
    } catch (error) {
      for (const node of recorder.nodes) for (const input of node.inputs) input.dispose();
      throw error;
    } finally {
      trace.open = false;
      recorder.open = false;
    }
  });
}
