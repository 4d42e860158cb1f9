/**
 * Primitives: the operations that the transformations know.
 * A nonlinear primitive brings a jvp rule; a linear (or multilinear) one brings its transpose, and its jvp follows from linearity.
 */
import { type DType, type Shape, Tensor, throughCpu } from '../tensor/index.js';

/** What is known of a value without its elements. */
export interface Aval {
  readonly dtype: DType;
  readonly shape: Shape;
}

/** A tangent; null is a symbolic zero, so that nothing is computed for it. */
export type Tangent = Tensor | null;

interface Common<P> {
  readonly name: string;
  /** Shapes and dtypes of the outputs. */
  shape(inputs: readonly Aval[], params: P): Aval[];
  /** Computes the outputs of concrete inputs. */
  kernel(inputs: readonly Tensor[], params: P): Tensor[];
}

/** Outputs and their tangents, from inputs and their tangents (at least one of which is not null). */
export type JvpRule<P> = (
  primals: readonly Tensor[],
  tangents: readonly Tangent[],
  params: P,
) => { outputs: Tensor[]; tangents: Tangent[] };

/**
 * Cotangents of the inputs from those of the outputs. `inputs[i]` is a value, or, where the map is being transposed, only its shape and
 * dtype (`isLinear(i)`); entries for other inputs are ignored.
 */
export type TransposeRule<P> = (
  cotangents: readonly Tensor[],
  inputs: readonly Tensor[],
  params: P,
  isLinear: (input: number) => boolean,
) => Tangent[];

export interface LinearRule<P> {
  /** Inputs in which the primitive is linear; the derivative in the others is zero almost everywhere. Default: all. */
  readonly inputs?: readonly number[];
  /** True when it is linear in each of them separately (a product), not jointly (a sum). */
  readonly multilinear?: boolean;
  readonly transpose: TransposeRule<P>;
}

export interface Primitive<P = unknown> extends Common<P> {
  readonly jvp: JvpRule<P>;
  readonly linear: LinearRule<P> | undefined;
}

/**
 * Defines a primitive.
 * - `jvp`: for nonlinear primitives.
 * - `linear`: for linear and multilinear ones; with `jvp` as well where the derived rule would do needless work.
 * - neither: the derivative is zero almost everywhere (comparisons, signs, integers).
 */
export function definePrimitive<P>(spec: Common<P> & { jvp?: JvpRule<P>; linear?: LinearRule<P> }): Primitive<P> {
  const { name, shape, kernel, linear } = spec;
  const primitive: Primitive<P> = {
    name,
    shape,
    kernel,
    linear,
    jvp:
      spec.jvp ??
      (linear
        ? (primals, tangents, params) => linearJvp(primitive, linear, primals, tangents, params)
        : (primals, _tangents, params) => {
            const outputs = bind(primitive, primals, params);
            return { outputs, tangents: outputs.map(() => null) };
          }),
  };
  return primitive;
}

function linearJvp<P>(
  primitive: Primitive<P>,
  rule: LinearRule<P>,
  primals: readonly Tensor[],
  tangents: readonly Tangent[],
  params: P,
): { outputs: Tensor[]; tangents: Tangent[] } {
  const outputs = bind(primitive, primals, params);
  const linearInputs = rule.inputs ?? primals.map((_, i) => i);
  const active = linearInputs.filter((i) => tangents[i] != null);
  if (active.length === 0) return { outputs, tangents: outputs.map(() => null) };
  if (rule.multilinear) {
    // d f(a, b) = f(da, b) + f(a, db)
    let total: Tensor[] | undefined;
    for (const i of active) {
      const part = bind(
        primitive,
        primals.map((x, j) => (j === i ? (tangents[i] as Tensor) : x)),
        params,
      );
      total = total ? total.map((t, k) => addTangents(t, part[k] as Tensor)) : part;
    }
    return { outputs, tangents: total as Tensor[] };
  }
  // d f(a, b) = f(da, db): missing tangents become explicit zeros
  const filled = primals.map((x, i) => (linearInputs.includes(i) ? (tangents[i] ?? zerosLike(x)) : x));
  return { outputs, tangents: bind(primitive, filled, params) };
}

/** Set by ops/: sums and zeros are themselves primitives. */
let addTangents: (a: Tensor, b: Tensor) => Tensor;
let zerosLike: (x: Aval) => Tensor;

/** @internal Ties the knot between the transformations and the primitives they need. */
export function provideArithmetic(add: (a: Tensor, b: Tensor) => Tensor, zeros: (x: Aval) => Tensor): void {
  addTangents = add;
  zerosLike = zeros;
}

export function sumTangents(a: Tangent, b: Tangent): Tangent {
  if (a === null) return b;
  return b === null ? a : addTangents(a, b);
}

export function zeroTangent(x: Aval): Tensor {
  return zerosLike(x);
}

/** A value that stands for a tensor at one level of transformation. */
export abstract class Tracer extends Tensor {
  constructor(
    readonly trace: Trace,
    aval: Aval,
  ) {
    super(aval.dtype, aval.shape, undefined);
  }

  override get storage(): never {
    throw new Error(
      'Expected a tensor with data but received a value that is being differentiated: inside grad, jvp or vjp, data(), dataSync() and item() have no answer',
    );
  }

  override get disposed(): boolean {
    return false;
  }

  /** @internal A handle of its own on everything the value holds. */
  abstract override alias(): Tensor;
  abstract heldValues(): readonly unknown[];
}

/** One transformation in progress. Higher levels are innermost. */
export abstract class Trace {
  open = true;
  constructor(readonly level: number) {}
  abstract process<P>(primitive: Primitive<P>, inputs: readonly Tensor[], params: P): Tensor[];
}

let depth = 0;

/** Runs `body` with `count` fresh levels; tracers of a level must not be used after it ends. */
export function withLevels<T>(count: number, body: (firstLevel: number) => T): T {
  const first = depth + 1;
  depth += count;
  try {
    return body(first);
  } finally {
    depth -= count;
  }
}

/** A backend may lack an entry of the kernel table: the primitive then computes on the CPU, between two copies. */
function evaluate<P>(primitive: Primitive<P>, inputs: readonly Tensor[], params: P): Tensor[] {
  try {
    return primitive.kernel(inputs, params);
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'TAUTGRAD_NO_KERNEL') throw error;
    return throughCpu(inputs, (moved) => primitive.kernel(moved, params));
  }
}

/** Applies a primitive to values at any mixture of levels: the innermost transformation acts first. */
export function bind<P>(primitive: Primitive<P>, inputs: readonly Tensor[], params: P): Tensor[] {
  let top: Trace | undefined;
  for (const input of inputs) {
    if (input instanceof Tracer && (top === undefined || input.trace.level > top.level)) top = input.trace;
  }
  if (top === undefined) return evaluate(primitive, inputs, params);
  if (!top.open) {
    throw new Error(
      `Expected values of the running function for "${primitive.name}" but received one that escaped from a grad, jvp or vjp that has ended`,
    );
  }
  return top.process(primitive, inputs, params);
}

/** The common case of one output. */
export function bind1<P>(primitive: Primitive<P>, inputs: readonly Tensor[], params: P): Tensor {
  return bind(primitive, inputs, params)[0] as Tensor;
}
