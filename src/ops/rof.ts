/** Isotropic total variation (Rudin, Osher & Fatemi 1992) as a primitive. */
import { definePrimitive, type Primitive } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { type Shape, sizeOf, Tensor } from '../tensor/index.js';
import { code } from './common.js';

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
  jvp: () => {
    throw new Error('tv.rof has no derivative in this version: differentiate tv.prox2d (anisotropic) instead');
  },
});
