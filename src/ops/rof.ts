/** Isotropic total variation (Rudin, Osher & Fatemi 1992) as a primitive. */
import { bind, bind1, definePrimitive, type Primitive, type Tangent } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { type Shape, sizeOf, Tensor } from '../tensor/index.js';
import { reshape, sum } from './broadcast.js';
import { code } from './common.js';
import { difference, differenceAdjoint } from './difference.js';
import { add, compare, div, mul, neg, select, sqrt, square, sub } from './elementwise.js';
import { cast, narrow, pad, stack } from './movement.js';

export interface RofParams {
  tolerance: number;
  maxIterations: number;
  method: kernels.RofMethod;
  /** The differences run along this many last axes. */
  dims: 2 | 3;
  /** The axis before them holds channels that share the norm. */
  coupled: boolean;
  /** Also return the dual field. */
  withDual: boolean;
}

/** [..., channels?, depth?, height, width] as the native struct. */
export function rofGeometry(shape: Shape, params: Pick<RofParams, 'dims' | 'coupled' | 'method' | 'maxIterations'>): kernels.RofParams {
  const { dims, coupled } = params;
  const space = shape.slice(-dims) as number[];
  const lead = shape.slice(0, -dims);
  return {
    batch: sizeOf(coupled ? lead.slice(0, -1) : lead),
    channels: coupled ? (lead.at(-1) as number) : 1,
    depth: dims === 3 ? (space[0] as number) : 1,
    height: space.at(-2) as number,
    width: space.at(-1) as number,
    dims,
    rofMethod: params.method,
    maxIterations: params.maxIterations,
  };
}

/** One component per differenced axis, in their order, before these axes. */
export const rofDualShape = (shape: Shape, dims: number): number[] => [...shape.slice(0, -dims), dims, ...shape.slice(-dims)];

/** Inputs: x; lambda, one per image; and optionally the dual field to start from. Outputs: y; report float64 [images, 4]; the dual field
 * when asked for. */
export const rofPrimitive: Primitive<RofParams> = definePrimitive<RofParams>({
  name: 'rof',
  shape: ([x], params) => [
    { dtype: x!.dtype, shape: x!.shape },
    { dtype: 'float64', shape: [rofGeometry(x!.shape, params).batch, kernels.TV_REPORT] },
    ...(params.withDual ? [{ dtype: x!.dtype, shape: rofDualShape(x!.shape, params.dims) }] : []),
  ],
  kernel: ([x, lambda, init], params) => {
    const geometry = rofGeometry(x!.shape, params);
    const y = Tensor.empty(x!.dtype, x!.shape);
    const report = Tensor.empty('float64', [geometry.batch, kernels.TV_REPORT]);
    const dual = params.withDual ? Tensor.empty(x!.dtype, rofDualShape(x!.shape, params.dims)) : undefined;
    if (x!.size > 0)
      kernels.rof(
        code(x!),
        geometry,
        params.tolerance,
        x!.address,
        lambda!.address,
        init?.address ?? 0,
        y.address,
        dual?.address ?? 0,
        report.address,
        0,
      );
    return dual ? [y, report, dual] : [y, report];
  },
  // dy = A (dx - Dᵀ(n dλ)), A of `rofDerivative`; `init` does not move the solution.
  jvp: ([x, lambda], [dx, dLambda], params) => {
    const [y, report, dual] = bind(rofPrimitive, [cast(x!, 'float64'), cast(lambda!, 'float64')], {
      ...params,
      tolerance: Math.min(params.tolerance, DERIVATIVE_TOLERANCE),
      maxIterations: Math.max(params.maxIterations, DERIVATIVE_ITERATIONS),
      withDual: true,
    }) as [Tensor, Tensor, Tensor];
    const bound = cast(lambda!, 'float64');
    let direction: Tangent = dx == null ? null : cast(dx, 'float64');
    if (dLambda != null) {
      const shift = gradientAdjoint(
        mul(outwardNormal(y, dual, bound, params), besideField(cast(dLambda, 'float64'), params.dims)),
        params.dims,
      );
      direction = direction === null ? neg(shift) : sub(direction, shift);
    }
    const tangent = direction && cast(bind1(rofDerivativePrimitive, [y, dual, bound, direction], params), x!.dtype);
    const outputs = [cast(y, x!.dtype), report, ...(params.withDual ? [cast(dual, x!.dtype)] : [])];
    return { outputs, tangents: [tangent, null, null].slice(0, outputs.length) };
  },
});

/** The relative gap, in float64, at which the derivative is taken: its error is about the root of the gap. */
const DERIVATIVE_TOLERANCE = 1e-13;
const DERIVATIVE_ITERATIONS = 100_000;

/**
 * A v: the Jacobian in x at a solution, by conjugate gradients on the linearised optimality system (native/cpu/rof_derivative.cpp).
 * Inputs, all float64: y, dual, lambda, v. Linear in v, self-adjoint.
 */
export const rofDerivativePrimitive: Primitive<RofParams> = definePrimitive<RofParams>({
  name: 'rofDerivative',
  shape: ([, , , v]) => [{ dtype: v!.dtype, shape: v!.shape }],
  kernel: ([y, dual, lambda, v], params) => {
    const out = Tensor.empty('float64', v!.shape);
    if (out.size > 0)
      kernels.rofDerivative(rofGeometry(v!.shape, params), y!.address, dual!.address, lambda!.address, v!.address, out.address);
    return [out];
  },
  jvp: (primals, [dy, dDual, dLambda, dv], params) => {
    if (dy != null || dDual != null || dLambda != null)
      throw new Error("Expected one derivative of tv.rof but received a second one: use gradient 'unrolled' for it");
    const [y, dual, lambda] = primals as [Tensor, Tensor, Tensor];
    const outputs = bind(rofDerivativePrimitive, primals, params);
    return { outputs, tangents: [dv == null ? null : bind1(rofDerivativePrimitive, [y, dual, lambda, dv], params)] };
  },
  linear: {
    inputs: [3],
    transpose: ([ct], [y, dual, lambda], params) => [null, null, null, bind1(rofDerivativePrimitive, [y!, dual!, lambda!, ct!], params)],
  },
});

/** D x: [..., dims, ...space], forward differences that are 0 at the end of their axis. */
export function gradientField(x: Tensor, dims: number): Tensor {
  const parts = Array.from({ length: dims }, (_, k) => {
    const axis = x.rank - dims + k;
    return pad(
      difference(x, axis),
      x.shape.map((_n, i): [number, number] => [0, i === axis ? 1 : 0]),
    );
  });
  return stack(parts, x.rank - dims);
}

/** Dᵀ u = -div u of a field [..., dims, ...space]. */
export function gradientAdjoint(u: Tensor, dims: number): Tensor {
  const at = u.rank - dims - 1;
  let total: Tensor | undefined;
  for (let k = 0; k < dims; k++) {
    const axis = at + k;
    const component = reshape(narrow(u, at, k, k + 1), [...u.shape.slice(0, at), ...u.shape.slice(at + 1)]);
    const part = differenceAdjoint(narrow(component, axis, 0, -1), axis);
    total = total === undefined ? part : add(total, part);
  }
  return total as Tensor;
}

/** Something per image (extent 1 along the image's axes) in the rank of its fields. */
export const besideField = (x: Tensor, dims: number): Tensor => reshape(x, [...x.shape.slice(0, -dims), 1, ...x.shape.slice(-dims)]);

/** |u|² over the components, and over the channels where these are coupled; kept as extents of 1. */
export const squaredLengths = (u: Tensor, { dims, coupled }: Pick<RofParams, 'dims' | 'coupled'>): Tensor =>
  sum(square(u), { axes: coupled ? [-dims - 2, -dims - 1] : [-dims - 1], keepDims: true });

/** (u + Dy) / |u + Dy| where that leaves the ball, 0 elsewhere. */
function outwardNormal(y: Tensor, dual: Tensor, lambda: Tensor, params: RofParams): Tensor {
  const point = add(dual, gradientField(y, params.dims));
  const lengths = sqrt(squaredLengths(point, params));
  const outside = compare.gt(lengths, besideField(lambda, params.dims));
  return select(outside, div(point, select(outside, lengths, 1)), 0);
}
