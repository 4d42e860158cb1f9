/** Reverse mode for users: vjp, grad, valueAndGrad, hvp. All of them nest in each other and in jvp. */
import { formatShape, isFloat, sameShape, scalar, Tensor } from '../tensor/index.js';
import { jvp } from './jvp.js';
import { zeroTangent } from './primitive.js';
import { type LinearMap, linearize } from './tape.js';
import { flatten, type Tree } from './tree.js';

/**
 * The value of `f` at `primals` and its pullback, the map from cotangents of the result to cotangents of the arguments. The pullback
 * keeps the recorded values until it is disposed or its `tidy` scope ends.
 * @throws TypeError when the cotangent's structure or shapes differ from the value's
 */
export function vjp<A extends readonly Tree[], R extends Tree>(
  f: (...args: A) => R,
  ...primals: A
): { value: R; pullback: ((cotangent: R) => A) & { dispose(): void } } {
  const input = flatten(primals);
  const { value, leaves, map } = run(f, input);
  const pullback = (cotangent: R): A => {
    const cotangents = flatten(cotangent).leaves;
    checkCotangents(leaves, cotangents);
    return input.rebuild(gradients(map, cotangents, input.leaves, false)) as unknown as A;
  };
  return { value, pullback: Object.assign(pullback, { dispose: () => map.dispose(), heldValues: () => [map] }) };
}

/**
 * A function that returns the value of `f` and the gradient in its argument number `argnum` (a tensor, or a tree of tensors).
 * @param f returns a tensor with one element, or `[loss, auxiliary]` with `hasAux`
 * @throws TypeError when the result is not one floating-point number
 */
export function valueAndGrad<A extends readonly unknown[], N extends number = 0>(
  f: (...args: A) => Tensor,
  argnum: N = 0 as N,
): (...args: A) => { value: Tensor; gradient: A[N] } {
  return (...args) => {
    const input = flatten(args[argnum] as Tree);
    checkDifferentiable(input.leaves);
    const { outputs, map } = linearize((leaves) => {
      const replaced = [...args];
      replaced[argnum] = input.rebuild(leaves);
      return [checkLoss(f(...(replaced as unknown as A)))];
    }, input.leaves);
    const value = outputs[0] as Tensor;
    const one = onesLike(value);
    return { value, gradient: input.rebuild(gradients(map, [one], input.leaves, true)) as A[N] };
  };
}

/** The gradient of a scalar function in its argument number `argnum`. */
export function grad<A extends readonly unknown[], N extends number = 0>(
  f: (...args: A) => Tensor,
  argnum: N = 0 as N,
): (...args: A) => A[N] {
  const both = valueAndGrad(f, argnum);
  return (...args) => {
    const { value, gradient } = both(...args);
    value.dispose();
    return gradient;
  };
}

/** The product of the Hessian of a scalar function with a vector, by forward over reverse. */
export function hvp<T extends Tree>(f: (x: T) => Tensor, x: T, vector: T): T {
  return jvp((y: T) => grad(f)(y) as T, [x] as const, [vector] as const).tangent;
}

function run<A extends readonly Tree[], R extends Tree>(
  f: (...args: A) => R,
  input: { leaves: Tensor[]; rebuild(l: readonly Tensor[]): A },
): { value: R; leaves: Tensor[]; map: LinearMap } {
  let rebuild: ((leaves: readonly Tensor[]) => R) | undefined;
  const { outputs, map } = linearize((leaves) => {
    const result = flatten(f(...input.rebuild(leaves)));
    rebuild = result.rebuild as (leaves: readonly Tensor[]) => R;
    return result.leaves;
  }, input.leaves);
  return { value: (rebuild as unknown as (leaves: readonly Tensor[]) => R)(outputs), leaves: outputs, map };
}

function gradients(map: LinearMap, cotangents: readonly Tensor[], inputs: readonly Tensor[], consume: boolean): Tensor[] {
  return map.transpose(cotangents, consume).map((cotangent, i) => cotangent ?? zeroTangent(inputs[i] as Tensor));
}

function onesLike(value: Tensor): Tensor {
  const one = scalar(1, value.dtype);
  return value.rank === 0 ? one : one.reshaped(value.shape);
}

function checkLoss(value: unknown): Tensor {
  if (!(value instanceof Tensor))
    throw new TypeError('Expected a function that returns a tensor with one element but it returned something else');
  if (value.size !== 1 || !isFloat(value.dtype)) {
    throw new TypeError(
      `Expected a function that returns one floating-point number but it returned ${value.dtype} ${formatShape(value.shape)}`,
    );
  }
  return value;
}

function checkDifferentiable(leaves: readonly Tensor[]): void {
  for (const leaf of leaves) {
    if (!isFloat(leaf.dtype)) throw new TypeError(`Expected floating-point tensors to differentiate by but received ${leaf.dtype}`);
  }
}

function checkCotangents(outputs: readonly Tensor[], cotangents: readonly Tensor[]): void {
  if (outputs.length !== cotangents.length)
    throw new TypeError(`Expected ${outputs.length} tensors for cotangent but received ${cotangents.length}`);
  outputs.forEach((output, i) => {
    const cotangent = cotangents[i] as Tensor;
    if (cotangent.dtype !== output.dtype || !sameShape(cotangent.shape, output.shape)) {
      throw new TypeError(
        `Expected a cotangent of dtype ${output.dtype} and shape ${formatShape(output.shape)} but received ${cotangent.dtype} ${formatShape(cotangent.shape)}`,
      );
    }
  });
}
