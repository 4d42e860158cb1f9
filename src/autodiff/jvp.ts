/** Forward mode: every value carries its tangent. */
import { formatShape, isFloat, type Shape, sameShape, type Tensor, tidy } from '../tensor/index.js';
import { type Primitive, type Tangent, Trace, Tracer, withLevels, zeroTangent } from './primitive.js';
import { flatten, type Tree } from './tree.js';

/** x + ε dx with ε² = 0. */
export class Dual extends Tracer {
  constructor(
    trace: JvpTrace,
    readonly primal: Tensor,
    readonly tangent: Tensor,
  ) {
    super(trace, primal);
  }

  override alias(shape: Shape = this.shape): Dual {
    return new Dual(this.trace as JvpTrace, this.primal.alias(shape), this.tangent.alias(shape));
  }

  override own(): Dual {
    return new Dual(this.trace as JvpTrace, this.primal.own(), this.tangent.own());
  }

  override dispose(): void {
    this.primal.dispose();
    this.tangent.dispose();
  }

  override heldValues(): readonly unknown[] {
    return [this.primal, this.tangent];
  }
}

export class JvpTrace extends Trace {
  override process<P>(primitive: Primitive<P>, inputs: readonly Tensor[], params: P): Tensor[] {
    const primals: Tensor[] = [];
    const tangents: Tangent[] = [];
    for (const input of inputs) {
      if (input instanceof Dual && input.trace === this) {
        primals.push(input.primal);
        tangents.push(input.tangent);
      } else {
        primals.push(input);
        tangents.push(null);
      }
    }
    // What the rule makes on the way is freed at once: tangent records keep what they need.
    return tidy(() => {
      const result = primitive.jvp(primals, tangents, params);
      return result.outputs.map((output, i) => {
        const tangent = result.tangents[i] ?? null;
        // A rule may hand an input through: the result needs a handle of its own, or disposing one would dispose the other.
        const value = primals.includes(output) ? output.own() : output;
        return tangent === null ? value : new Dual(this, value, tangents.includes(tangent) ? tangent.own() : tangent);
      });
    });
  }

  /** Splits a value of this level (or of a lower one) into primal and tangent. */
  unpack(value: Tensor): { primal: Tensor; tangent: Tangent } {
    return value instanceof Dual && value.trace === this
      ? { primal: value.primal, tangent: value.tangent }
      : { primal: value, tangent: null };
  }
}

/** Runs `f` on duals. Tangents may be symbolic zeros, in and out. */
export function jvpFlat(
  f: (inputs: Tensor[]) => Tensor[],
  primals: readonly Tensor[],
  tangents: readonly Tangent[],
): { outputs: Tensor[]; tangents: Tangent[] } {
  return withLevels(1, (level) => {
    const trace = new JvpTrace(level);
    const inputs = primals.map((primal, i) => {
      const tangent = tangents[i] ?? null;
      return tangent === null ? primal : new Dual(trace, primal, tangent);
    });
    const results = f(inputs).map((value) => trace.unpack(value));
    trace.open = false;
    return { outputs: results.map((r) => r.primal), tangents: results.map((r) => r.tangent) };
  });
}

/**
 * The value of `f` at `primals` and its directional derivative along `tangents`, in one forward pass.
 * @param f a function of tensors (one argument per entry of `primals`) that returns a tensor or a tree of tensors
 * @param primals its arguments: tensors, or arrays and records of tensors
 * @param tangents directions, of the same structure and shapes
 * @returns `{ value, tangent }`, both of the structure of f's result
 */
export function jvp<A extends readonly Tree[], R extends Tree>(f: (...args: A) => R, primals: A, tangents: A): { value: R; tangent: R } {
  const input = flatten(primals);
  const direction = flatten(tangents).leaves;
  checkTangents(input.leaves, direction);
  let rebuild: ((leaves: readonly Tensor[]) => R) | undefined;
  const { outputs, tangents: out } = jvpFlat(
    (leaves) => {
      const result = flatten(f(...(input.rebuild(leaves) as unknown as A)));
      rebuild = result.rebuild as (leaves: readonly Tensor[]) => R;
      return result.leaves;
    },
    input.leaves,
    direction,
  );
  const build = rebuild as unknown as (leaves: readonly Tensor[]) => R;
  return { value: build(outputs), tangent: build(out.map((tangent, i) => tangent ?? zeroTangent(outputs[i] as Tensor))) };
}

function checkTangents(primals: readonly Tensor[], tangents: readonly Tensor[]): void {
  if (primals.length !== tangents.length) {
    throw new TypeError(`Expected ${primals.length} tensors for tangents but received ${tangents.length}`);
  }
  primals.forEach((primal, i) => {
    const tangent = tangents[i] as Tensor;
    if (!isFloat(primal.dtype) || tangent.dtype !== primal.dtype || !sameShape(tangent.shape, primal.shape)) {
      throw new TypeError(
        `Expected a floating-point tangent of dtype ${primal.dtype} and shape ${formatShape(primal.shape)} but received ${tangent.dtype} ${formatShape(tangent.shape)}`,
      );
    }
  });
}

/** The value underneath every level of differentiation. Null for a tangent that is being recorded: it has no value. */
export function underlying(x: Tensor): Tensor | null {
  let value: Tensor = x;
  while (value instanceof Dual) value = value.primal;
  return value instanceof Tracer ? null : value;
}
