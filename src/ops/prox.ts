/**
 * The total-variation proximal maps as primitives. Their tangents are piecewise constant on the solution's segments (components in 2D):
 * dy = A (dx - Dᵀ(s dμ)), with A the averaging over segments, s the signs of the jumps and μ = λ w the edge thresholds
 * (specification: Yeh et al. 2022, eq. (8) and (9), in closed form). Second derivatives vanish almost everywhere.
 */
import { bind, bind1, definePrimitive, type Primitive, sumTangents, type Tangent } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { linesAlong, type Shape, sizeOf, Tensor } from '../tensor/index.js';
import { reshape } from './broadcast.js';
import { code, constant } from './common.js';
import { difference, differenceAdjoint } from './difference.js';
import { compare, mul, select, sign, sub } from './elementwise.js';
import { narrow } from './movement.js';

// ---- 1D ------------------------------------------------------------------------------------------------------------------------

export interface Prox1dParams {
  axis: number;
  /** Solve by projected Newton on the dual instead of directly. The derivative reads the direct solution's segments in both cases. */
  newton?: { tolerance: number; maxIterations: number };
}

/** Inputs: x; lambda in x's shape with extent 1 at `axis`; and optionally weights with one entry per edge. */
export const prox1dPrimitive: Primitive<Prox1dParams> = definePrimitive<Prox1dParams>({
  name: 'prox1d',
  shape: ([x]) => [{ dtype: x!.dtype, shape: x!.shape }],
  kernel: ([x, lambda, weights], { axis, newton }) => {
    const y = Tensor.empty(x!.dtype, x!.shape);
    if (y.size === 0) return [y];
    const problem = [code(x!), linesAlong(x!.shape, axis), x!.address, lambda!.address, weights?.address ?? 0] as const;
    if (newton) kernels.prox1dNewton(...problem, newton.tolerance, newton.maxIterations, y.address, 0);
    else kernels.prox1d(...problem, y.address);
    return [y];
  },
  jvp: ([x, lambda, weights], [dx, dLambda, dWeights], { axis, newton }) => {
    const inputs = weights ? [x!, lambda!, weights] : [x!, lambda!];
    const params = { axis };
    const y = bind1(prox1dPrimitive, inputs, params);
    const byLambda = dLambda == null ? null : bind1(jumpSpreadPrimitive, weights ? [y, dLambda, weights] : [y, dLambda], params);
    const byWeights = dWeights == null ? null : edgeShift(axis, () => sign(difference(y, axis)), lambda!, weights, null, dWeights);
    const shift = sumTangents(byLambda, byWeights);
    const direction = subtractTangents(dx ?? null, shift);
    const output = newton ? bind1(prox1dPrimitive, inputs, { axis, newton }) : y;
    return { outputs: [output], tangents: [direction && bind1(prox1dAveragePrimitive, [y, direction], params)] };
  },
});

/** The mean of v over each run of equal values of y: linear in v, self-adjoint. */
export const prox1dAveragePrimitive: Primitive<Prox1dParams> = definePrimitive<Prox1dParams>({
  name: 'prox1dAverage',
  shape: ([, v]) => [{ dtype: v!.dtype, shape: v!.shape }],
  kernel: ([y, v], { axis }) => {
    const out = Tensor.empty(v!.dtype, v!.shape);
    if (out.size > 0) kernels.prox1dAverage(code(v!), linesAlong(y!.shape, axis), y!.address, v!.address, out.address);
    return [out];
  },
  linear: { inputs: [1], transpose: ([ct], [y], params) => [null, bind1(prox1dAveragePrimitive, [y!, ct!], params)] },
});

/** Dᵀ(s w v) for one v per line (x's shape with extent 1 at the axis): how a change of lambda moves the prox. Inputs: y, v, weights?. */
export const jumpSpreadPrimitive: Primitive<Prox1dParams> = definePrimitive<Prox1dParams>({
  name: 'jumpSpread',
  shape: ([y]) => [{ dtype: y!.dtype, shape: y!.shape }],
  kernel: ([y, v, weights], { axis }) => {
    const out = Tensor.empty(y!.dtype, y!.shape);
    if (out.size > 0) kernels.jumpSpread(code(y!), linesAlong(y!.shape, axis), y!.address, weights?.address ?? 0, v!.address, out.address);
    return [out];
  },
  // Linear in v; linear in the weights too, which only a second derivative sees.
  linear: {
    inputs: [1, 2],
    multilinear: true,
    transpose: ([ct], inputs, params, isLinear) => {
      const [y, v] = inputs as [Tensor, Tensor];
      const jumps = (): Tensor => mul(sign(difference(y, params.axis)), difference(ct!, params.axis));
      return [
        null,
        isLinear(1) ? bind1(jumpSumPrimitive, inputs.length > 2 ? [y, ct!, inputs[2] as Tensor] : [y, ct!], params) : null,
        ...(inputs.length > 2 ? [isLinear(2) ? mul(jumps(), v) : null] : []),
      ];
    },
  },
});

/** Σ_e w_e s_e (a_{e+1} - a_e) per line: the adjoint of `jumpSpread`. Inputs: y, a, weights?. */
export const jumpSumPrimitive: Primitive<Prox1dParams> = definePrimitive<Prox1dParams>({
  name: 'jumpSum',
  shape: ([y], { axis }) => [{ dtype: y!.dtype, shape: y!.shape.map((n, i) => (i === axis ? 1 : n)) }],
  kernel: ([y, a, weights], { axis }) => {
    const out = Tensor.empty(
      y!.dtype,
      y!.shape.map((n, i) => (i === axis ? 1 : n)),
    );
    if (out.size > 0) kernels.jumpSum(code(y!), linesAlong(y!.shape, axis), y!.address, weights?.address ?? 0, a!.address, out.address);
    return [out];
  },
  linear: {
    inputs: [1, 2],
    multilinear: true,
    transpose: ([ct], inputs, params, isLinear) => {
      const [y, a] = inputs as [Tensor, Tensor];
      return [
        null,
        isLinear(1) ? bind1(jumpSpreadPrimitive, inputs.length > 2 ? [y, ct!, inputs[2] as Tensor] : [y, ct!], params) : null,
        ...(inputs.length > 2 ? [isLinear(2) ? mul(mul(sign(difference(y, params.axis)), difference(a, params.axis)), ct!) : null] : []),
      ];
    },
  },
});

/** Dᵀ(s dμ), dμ = dλ w + λ dw; null when neither λ nor w moves. */
function edgeShift(
  axis: number,
  signs: () => Tensor,
  lambda: Tensor,
  weights: Tensor | undefined,
  dLambda: Tangent | undefined,
  dWeights: Tangent | undefined,
): Tangent {
  if (dLambda == null && dWeights == null) return null;
  const s = signs();
  const byLambda = dLambda == null ? null : mul(weights === undefined ? s : mul(s, weights), dLambda);
  const byWeights = dWeights == null ? null : mul(mul(s, lambda), dWeights);
  const moved = sumTangents(byLambda, byWeights);
  return moved && differenceAdjoint(moved, axis);
}

function subtractTangents(a: Tangent, b: Tangent): Tangent {
  if (b === null) return a;
  return a === null ? mul(b, constant(-1, b.dtype)) : sub(a, b);
}

// ---- 2D ------------------------------------------------------------------------------------------------------------------------

export interface Prox2dParams {
  method: kernels.Tv2dMethod;
  tolerance: number;
  maxIterations: number;
  hasWeightsX: boolean;
  hasWeightsY: boolean;
  /** The last input is a dual to start from, which does not change the solution and has no derivative. */
  hasInit: boolean;
  /** Also return the dual [..., 2, h, w] and the int32 labels of the solution's connected components, neither with a derivative. */
  detailed: boolean;
}

export function tv2dParams(x: Tensor, method: kernels.Tv2dMethod, maxIterations: number): kernels.Tv2dParams {
  const [height, width] = x.shape.slice(-2) as [number, number];
  return { batch: sizeOf(x.shape.slice(0, -2)), height, width, method, maxIterations };
}

/** Inputs: x [..., h, w]; lambda of rows and of columns [..., 1, 1]; then weightsX [..., h, w-1], weightsY [..., h-1, w] and a dual
 * [..., 2, h, w] if present. Outputs: y; report float64 [batch, 4]; dual and labels when asked for. */
export const prox2dPrimitive: Primitive<Prox2dParams> = definePrimitive<Prox2dParams>({
  name: 'prox2d',
  shape: ([x], { detailed }) => [
    { dtype: x!.dtype, shape: x!.shape },
    { dtype: 'float64', shape: [sizeOf(x!.shape.slice(0, -2)), kernels.TV_REPORT] },
    ...(detailed
      ? [
          { dtype: x!.dtype, shape: dualShape(x!.shape) },
          { dtype: 'int32' as const, shape: x!.shape },
        ]
      : []),
  ],
  kernel: (inputs, params) => {
    const { x, rows, cols, wx, wy, init } = unpack2d(inputs, params);
    const y = Tensor.empty(x.dtype, x.shape);
    const report = Tensor.empty('float64', [sizeOf(x.shape.slice(0, -2)), kernels.TV_REPORT]);
    const dual = params.detailed ? Tensor.empty(x.dtype, dualShape(x.shape)) : undefined;
    const labels = params.detailed ? Tensor.empty('int32', x.shape) : undefined;
    if (x.size > 0) {
      kernels.prox2d(
        code(x),
        tv2dParams(x, params.method, params.maxIterations),
        params.tolerance,
        x.address,
        rows.address,
        cols.address,
        wx?.address ?? 0,
        wy?.address ?? 0,
        init?.address ?? 0,
        y.address,
        dual?.address ?? 0,
        labels?.address ?? 0,
        report.address,
        0,
      );
    }
    return dual && labels ? [y, report, dual, labels] : [y, report];
  },
  jvp: (primals, tangents, params) => {
    const { x, rows, cols, wx, wy } = unpack2d(primals, params);
    const d = unpack2d(tangents, params);
    // The partition is what the derivative reads, so the solution is finished exactly, and the value with it: the iterations before the
    // finish are fewer than those to the tolerance.
    const [y, report, dual, labels] = bind(prox2dPrimitive, primals, {
      ...params,
      method: kernels.Tv2dMethod.exact,
      tolerance: 0,
      detailed: true,
    }) as [Tensor, Tensor, Tensor, Tensor];
    const shift = sumTangents(
      edgeShift(x.rank - 1, () => jumpSigns(y, dual, labels, x.rank - 1), rows, wx, d.rows, d.wx),
      edgeShift(x.rank - 2, () => jumpSigns(y, dual, labels, x.rank - 2), cols, wy, d.cols, d.wy),
    );
    const direction = subtractTangents(d.x ?? null, shift);
    const tangent = direction && bind1(componentAveragePrimitive, [labels, direction], null);
    return params.detailed
      ? { outputs: [y, report, dual, labels], tangents: [tangent, null, null, null] }
      : { outputs: [y, report], tangents: [tangent, null] };
  },
});

/** [..., h, w] to [..., 2, h, w]: the duals of the edges to the right, then of those below. */
export function dualShape(shape: Shape): number[] {
  return [...shape.slice(0, -2), 2, ...shape.slice(-2)];
}

/**
 * The sign of y's jump across each edge between two components, 0 inside a component. Where float32 rounds the jump away, the sign of the
 * saturated dual (an edge of weight 0 has none).
 */
function jumpSigns(y: Tensor, dual: Tensor, labels: Tensor, axis: number): Tensor {
  const plane = axis === y.rank - 1 ? narrow(dual, -3, 0, 1) : narrow(dual, -3, 1, 2);
  const u = narrow(reshape(plane, y.shape), axis, 0, -1);
  const dy = difference(y, axis);
  const apart = compare.ne(narrow(labels, axis, 1), narrow(labels, axis, 0, -1));
  return select(apart, sign(select(compare.ne(dy, 0), dy, u)), 0);
}

function unpack2d<T>(
  inputs: readonly T[],
  { hasWeightsX, hasWeightsY, hasInit }: Prox2dParams,
): { x: T; rows: T; cols: T; wx: T | undefined; wy: T | undefined; init: T | undefined } {
  return {
    x: inputs[0] as T,
    rows: inputs[1] as T,
    cols: inputs[2] as T,
    wx: hasWeightsX ? inputs[3] : undefined,
    wy: hasWeightsY ? inputs[hasWeightsX ? 4 : 3] : undefined,
    init: hasInit ? inputs.at(-1) : undefined,
  };
}

/** The mean of v over each connected component of equal labels (of the last two axes): linear in v, self-adjoint. */
export const componentAveragePrimitive: Primitive<null> = definePrimitive<null>({
  name: 'componentAverage',
  shape: ([, v]) => [{ dtype: v!.dtype, shape: v!.shape }],
  kernel: ([labels, v]) => {
    const out = Tensor.empty(v!.dtype, v!.shape);
    if (out.size > 0)
      kernels.componentAverage(
        code(v!),
        sizeOf(v!.shape.slice(0, -2)),
        sizeOf(v!.shape.slice(-2)),
        labels!.address,
        v!.address,
        out.address,
      );
    return [out];
  },
  linear: { inputs: [1], transpose: ([ct], [labels]) => [null, bind1(componentAveragePrimitive, [labels!, ct!], null)] },
});
