/** A row of the tables in test/ops, and the checks that every row passes. */
import { expect, it } from 'vitest';
import { grad, jvp, ops, type Tensor, tensor, tidy } from '../../src/index.js';
import { backward, centralDifference, dot, type Fn, forward, normal, relativeError, values } from './numeric.js';
import type { Reference } from './reference.js';

export interface Row {
  /** Name(s) of the primitives that the row covers. */
  covers: string | string[];
  label: string;
  f: Fn;
  inputs: () => Tensor[];
  /** Plain float64 loops. */
  expected: (...inputs: Reference[]) => Reference;
  /** Inputs to differentiate in; default: all float64 ones. Empty for functions whose derivative is zero. */
  active?: number[];
}

export function testRow(row: Row): void {
  const active = (inputs: Tensor[]): boolean[] => inputs.map((x, i) => (row.active ? row.active.includes(i) : x.dtype === 'float64'));

  it(`${row.label}: value`, () => {
    tidy(() => {
      const inputs = row.inputs();
      const y = row.f(...inputs);
      const want = row.expected(...inputs.map((x) => ({ shape: x.shape, data: values(x) })));
      expect(y.shape).toEqual(want.shape);
      expect(relativeError(y, tensor(Float64Array.from(want.data), { shape: want.shape }))).toBeLessThan(1e-10);
    });
  });

  if (row.active?.length === 0) return;

  it(`${row.label}: jvp and vjp`, () => {
    tidy(() => {
      const inputs = row.inputs();
      const on = active(inputs);
      const directions = inputs.map((x, i) => (on[i] ? normal(x.shape, 100 + i) : null));
      const y = row.f(...inputs);
      const tangent = forward(row.f, inputs, directions);
      expect(relativeError(tangent, centralDifference(row.f, inputs, directions, 1e-5))).toBeLessThan(1e-7);
      const u = normal(y.shape, 99);
      const cotangents = backward(row.f, inputs, on, u);
      const right = cotangents.reduce((s, ct, i) => s + (ct ? dot(ct, directions[i] as Tensor) : 0), 0);
      const left = dot(u, tangent);
      expect(Math.abs(left - right)).toBeLessThan(1e-10 * Math.max(1, Math.abs(left)));
    });
  });

  it(`${row.label}: second derivative, both orders of nesting`, () => {
    tidy(() => {
      const inputs = row.inputs();
      const on = active(inputs);
      const directions = inputs.map((x, i) => (on[i] ? normal(x.shape, 200 + i) : null));
      const u = normal(row.f(...inputs).shape, 98);
      // A nonlinear function of the result, so that linear primitives have a second derivative as well.
      const energy = (...x: Tensor[]): Tensor => ops.sum(ops.mul(u, ops.square(row.f(...x))));
      const k = on.indexOf(true);
      const swap = (x: readonly Tensor[], z: Tensor): Tensor[] => x.map((v, i) => (i === k ? z : v));
      const gradient = (...x: Tensor[]): Tensor => grad((z: Tensor) => energy(...swap(x, z)))(x[k] as Tensor);
      const overReverse = forward(gradient, inputs, directions);
      expect(relativeError(overReverse, centralDifference(gradient, inputs, directions, 1e-5))).toBeLessThan(2e-7);
      const slope = (z: Tensor): Tensor =>
        jvp((v: Tensor) => energy(...swap(inputs, v)), [z] as const, [directions[k] as Tensor] as const).tangent;
      const overForward = grad(slope)(inputs[k] as Tensor);
      const alone = directions.map((d, i) => (i === k ? d : null));
      expect(relativeError(overForward, forward(gradient, inputs, alone))).toBeLessThan(1e-10);
    });
  });
}
