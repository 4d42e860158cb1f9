/** Finite differences and comparisons in float64. */
import { Generator, jvp, ops, type Tensor, type Tree, tensor, tidy, vjp } from '../../src/index.js';

export type Fn = (...inputs: Tensor[]) => Tensor;

export const normal = (shape: readonly number[], seed: number, scale = 1): Tensor =>
  new Generator(seed).normal(shape, { std: scale, dtype: 'float64' });

/** Random numbers well above 0. */
export const positive = (shape: readonly number[], seed: number): Tensor => ops.add(ops.exp(normal(shape, seed, 0.5)), 0.2);

/** Central difference of `f` along `directions`. */
export function centralDifference(f: Fn, inputs: readonly Tensor[], directions: readonly (Tensor | null)[], h: number): Tensor {
  const at = (t: number): Tensor => f(...inputs.map((x, i) => (directions[i] ? ops.add(x, ops.mul(directions[i] as Tensor, t)) : x)));
  return ops.div(ops.sub(at(h), at(-h)), 2 * h);
}

export const dot = (a: Tensor, b: Tensor): number => tidy(() => ops.sum(ops.mul(a, b)).item());

export const values = (x: Tensor): number[] => Array.from(x.toTypedArray());

/** Largest |a - b|, over the larger of 1 and the largest |b|. */
export function relativeError(a: Tensor, b: Tensor): number {
  const [p, q] = [values(a), values(b)];
  if (p.length !== q.length) return Number.POSITIVE_INFINITY;
  const scale = Math.max(1, ...q.map(Math.abs));
  return (
    p.reduce(
      (worst, value, i) =>
        Math.max(worst, Number.isNaN(value - (q[i] as number)) ? Number.POSITIVE_INFINITY : Math.abs(value - (q[i] as number))),
      0,
    ) / scale
  );
}

export const floatInputs = (inputs: readonly Tensor[]): boolean[] => inputs.map((x) => x.dtype === 'float64');

/** Jacobian-vector product by forward mode; null directions stay constant. */
export function forward(f: Fn, inputs: readonly Tensor[], directions: readonly (Tensor | null)[]): Tensor {
  const active = directions.flatMap((d, i) => (d ? [i] : []));
  const g = (...moving: Tree[]): Tensor => {
    const all = [...inputs];
    active.forEach((i, k) => {
      all[i] = moving[k] as Tensor;
    });
    return f(...all);
  };
  return jvp(
    g,
    active.map((i) => inputs[i] as Tensor),
    active.map((i) => directions[i] as Tensor),
  ).tangent as Tensor;
}

/** Cotangents of the inputs marked active (null for the others). */
export function backward(f: Fn, inputs: readonly Tensor[], active: readonly boolean[], cotangent: Tensor): (Tensor | null)[] {
  const moving = inputs.filter((_, i) => active[i]);
  const g = (...args: Tensor[]): Tensor => {
    let k = 0;
    return f(...inputs.map((x, i) => (active[i] ? (args[k++] as Tensor) : x)));
  };
  const { pullback } = vjp(g, ...moving);
  const gradients = pullback(cotangent);
  let k = 0;
  return inputs.map((_, i) => (active[i] ? (gradients[k++] as Tensor) : null));
}

export { tensor };
