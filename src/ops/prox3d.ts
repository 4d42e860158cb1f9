/** Anisotropic total variation of volumes as a primitive; its derivative is that of `prox2d` with the components of a volume. */
import { bind, bind1, definePrimitive, type Primitive, sumTangents, type Tangent } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { type Shape, sizeOf, Tensor } from '../tensor/index.js';
import { reshape } from './broadcast.js';
import { code } from './common.js';
import { difference, differenceAdjoint } from './difference.js';
import { compare, mul, neg, sign, sub } from './elementwise.js';
import { cast, narrow } from './movement.js';
import { componentAveragePrimitive } from './prox.js';

export interface Prox3dParams {
  method: kernels.Tv2dMethod;
  tolerance: number;
  maxIterations: number;
  /** Whether the differences along depth, height and width have weights of their own. */
  weighted: readonly [boolean, boolean, boolean];
  /** Also return the int32 labels of the solution's connected components. */
  labelled: boolean;
}

/** The relative gap at which the partition is the exact solution's, as in 2D. */
const PARTITION_TOLERANCE = 1e-10;

const volumes = (shape: Shape): number => sizeOf(shape.slice(0, -3));

interface Parts<T> {
  x: T;
  lambdas: T[];
  weights: (T | undefined)[];
}

function unpack<T>(inputs: readonly T[], { weighted }: Prox3dParams): Parts<T> {
  let at = 4;
  return { x: inputs[0] as T, lambdas: inputs.slice(1, 4), weights: weighted.map((own) => (own ? inputs[at++] : undefined)) };
}

/** Inputs: x [..., d, h, w]; lambdas of depth, height and width [..., 1, 1, 1]; then the weights that there are, one entry per edge.
 * Outputs: y; report float64 [volumes, 4]; labels int32 like x when asked for. */
export const prox3dPrimitive: Primitive<Prox3dParams> = definePrimitive<Prox3dParams>({
  name: 'prox3d',
  shape: ([x], { labelled }) => [
    { dtype: x!.dtype, shape: x!.shape },
    { dtype: 'float64', shape: [volumes(x!.shape), kernels.TV_REPORT] },
    ...(labelled ? [{ dtype: 'int32' as const, shape: x!.shape }] : []),
  ],
  kernel: (inputs, params) => {
    const { x, lambdas, weights } = unpack(inputs, params);
    const batch = volumes(x.shape);
    const [volumeDepth, height, width] = x.shape.slice(-3) as [number, number, number];
    const y = Tensor.empty(x.dtype, x.shape);
    const report = Tensor.empty('float64', [batch, kernels.TV_REPORT]);
    const labels = params.labelled ? Tensor.empty('int32', x.shape) : undefined;
    const [l0, l1, l2] = lambdas as [Tensor, Tensor, Tensor];
    const [w0, w1, w2] = weights;
    if (x.size > 0)
      kernels.prox3d(
        code(x),
        { batch, volumeDepth, height, width, method: params.method, maxIterations: params.maxIterations },
        params.tolerance,
        x.address,
        l0.address,
        l1.address,
        l2.address,
        w0?.address ?? 0,
        w1?.address ?? 0,
        w2?.address ?? 0,
        y.address,
        labels?.address ?? 0,
        report.address,
        0,
      );
    return labels ? [y, report, labels] : [y, report];
  },
  jvp: (primals, tangents, params) => {
    const { x, lambdas, weights } = unpack(primals, params);
    const d = unpack(tangents, params);
    // In float64 and to the end, because the partition is what the derivative reads.
    const wide = primals.map((p) => cast(p, 'float64'));
    const [y64, report, labels] = bind(prox3dPrimitive, wide, {
      ...params,
      tolerance: Math.min(params.tolerance, PARTITION_TOLERANCE),
      labelled: true,
    }) as [Tensor, Tensor, Tensor];
    let direction: Tangent = d.x ?? null;
    for (let k = 0; k < 3; k++) {
      const [lambda, weight] = [lambdas[k] as Tensor, weights[k]];
      const [dLambda, dWeight] = [d.lambdas[k] ?? null, d.weights[k] ?? null];
      if (dLambda === null && dWeight === null) continue;
      const axis = x.rank - 3 + k;
      const apart = compare.ne(narrow(labels, axis, 1), narrow(labels, axis, 0, -1));
      const s = mul(cast(apart, x.dtype), cast(sign(difference(y64, axis)), x.dtype));
      const byLambda = dLambda && mul(weight === undefined ? s : mul(s, weight), dLambda);
      const moved = sumTangents(byLambda, dWeight && mul(mul(s, lambda), dWeight)) as Tensor;
      const shift = differenceAdjoint(moved, axis);
      direction = direction === null ? neg(shift) : sub(direction, shift);
    }
    const tangent = direction && averageVolumes(labels, direction);
    return { outputs: [cast(y64, x.dtype), report, ...(params.labelled ? [labels] : [])], tangents: [tangent, null, null] };
  },
});

/** `componentAverage` of volumes: a label counts pixels of its volume, so the volume may as well be an image. */
function averageVolumes(labels: Tensor, v: Tensor): Tensor {
  const [depth, height, width] = v.shape.slice(-3) as [number, number, number];
  const flat = [...v.shape.slice(0, -3), depth * height, width];
  return reshape(bind1(componentAveragePrimitive, [reshape(labels, flat), reshape(v, flat)], null), v.shape);
}
