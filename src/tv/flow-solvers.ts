/** One implicit step of the total-variation flow: argmin_v ½|v - x|² + λ J(v), by each of the methods that `flow` offers. */
import { bind, Tracer } from '../autodiff/index.js';
import { conjugateGradients } from '../linalg/index.js';
import {
  abs,
  add,
  cast,
  compare,
  cumsum,
  div,
  flip,
  gradientAdjoint,
  gradientField,
  maximum,
  mul,
  neg,
  prox1dPrimitive,
  type RofParams,
  reshape,
  select,
  sqrt,
  square,
  squaredLengths,
  stack,
  sub,
  sum,
} from '../ops/index.js';
import { type DType, full, sizeOf, type Tensor, tidy, zeros } from '../tensor/index.js';
import { solve2dAsync, solveRofAsync } from './async.js';
import { solve2d } from './prox2d.js';
import type { SolverReport } from './report.js';
import { solveRof } from './rof.js';

/** What one step asks of its solver. */
export interface StepRequest {
  /** [..., height, width] */
  x: Tensor;
  /** One for all images, or a tensor that broadcasts against the leading axes. */
  lambda: number | Tensor;
  /** The dual of a step nearby, |init| <= lambda. */
  init: Tensor | undefined;
  /** Relative duality gap. */
  tolerance: number;
}

/** y = x + div(dual), |dual| <= lambda, with its certificate; the dual in the layout of the solver. */
export interface StepAnswer extends SolverReport {
  y: Tensor;
  dual: Tensor;
}

export interface StepSolver {
  solve(request: StepRequest): StepAnswer;
  /** The same off the main thread; only where the native solver has such a form. */
  solveAsync?(request: StepRequest, signal?: AbortSignal): Promise<StepAnswer>;
  /** The dual as [..., 2, height, width], the differences between rows first. */
  field(dual: Tensor): Tensor;
  /** The flow is the proximal map itself: steps of any length are exact. */
  readonly exact: boolean;
  /** The steps carry a duality gap that bounds their error. */
  readonly certified: boolean;
}

/** The isotropic or anisotropic total variation, and whether the channels before the image share the norm. */
export interface Geometry {
  isotropic: boolean;
  coupled: boolean;
}

const asField = (dual: Tensor): Tensor => dual;

export function rofSolver({ coupled }: Geometry, maxIterations: number | undefined): StepSolver {
  const options = ({ init, tolerance }: StepRequest): Parameters<typeof solveRof>[2] => ({
    tolerance,
    channels: coupled ? 'coupled' : 'independent',
    // FISTA keeps y = x + div(dual) to the last bit, which the bound on the flow's error rests on.
    method: 'fista',
    ...(maxIterations !== undefined && { maxIterations }),
    ...(init !== undefined && { init }),
  });
  return {
    solve: (request) => solveRof(request.x, request.lambda, options(request)),
    solveAsync: (request, signal) => solveRofAsync(request.x, request.lambda, { ...options(request), ...(signal && { signal }) }),
    field: asField,
    exact: false,
    certified: true,
  };
}

/** `exact` solves each step up to rounding, whatever the tolerance. */
export function anisotropicSolver(exact: boolean, maxIterations: number | undefined): StepSolver {
  const options = ({ init, tolerance }: StepRequest): Parameters<typeof solve2d>[2] => ({
    ...(exact ? { exact } : { tolerance }),
    ...(maxIterations !== undefined && { maxIterations }),
    ...(init !== undefined && { init }),
  });
  return {
    solve: (request) => solve2d(request.x, request.lambda, options(request)),
    solveAsync: (request, signal) => solve2dAsync(request.x, request.lambda, { ...options(request), ...(signal && { signal }) }),
    field: (dual) => flip(dual, -3), // there the edges inside rows come first
    exact: false,
    certified: true,
  };
}

/**
 * Images of one row or one column: the differences are those of a line, whose flow is its proximal map (Briani, Chambolle, Novaga &
 * Orlandi 2011), which the direct solver finds exactly.
 */
export function lineSolver(dtype: DType, height: number): StepSolver {
  return {
    solve: ({ x, lambda }) =>
      tidy(() => {
        const axis = height === 1 ? x.rank - 1 : x.rank - 2;
        const from = cast(x, 'float64');
        const bound = spread(lambda, from);
        const y = bind(prox1dPrimitive, [from, bound], { axis })[0] as Tensor;
        // y - x = div(dual): the dual is the running sum, kept in the constraint against rounding.
        const along = cumsum(sub(y, from), { axis });
        const inside = maximum(neg(bound), neg(maximum(neg(bound), neg(along))));
        const none = zeros(x.shape, 'float64');
        const dual = stack(axis === x.rank - 1 ? [none, inside] : [inside, none], x.rank - 2);
        const report = certify(from, y, dual, bound, { isotropic: true, coupled: false });
        return { y: cast(y, dtype), dual: cast(dual, dtype), ...report };
      }),
    field: asField,
    exact: true,
    certified: true,
  };
}

export interface ChambolleSettings {
  iterations: number;
  tau: number;
  warmStart: boolean;
}

/**
 * Chambolle's fixed point for the dual (Chambolle 2004): p ← (p + τ q) / (1 + τ |q|), q = D(div p - x / λ). A fixed number of iterations:
 * for comparison with published results, the accelerated solver is better at any cost.
 */
export function chambolleSolver({ iterations, tau, warmStart }: ChambolleSettings): StepSolver {
  const geometry = { isotropic: true, coupled: false };
  const params = { dims: 2, coupled: false } as const;
  return {
    solve: ({ x, lambda, init }) =>
      tidy(() => {
        const bound = spread(lambda, x);
        const beside = reshape(bound, [...x.shape.slice(0, -2), 1, 1, 1]);
        const target = div(x, bound);
        // p = -dual / λ
        let p =
          init === undefined || !warmStart ? zeros([...x.shape.slice(0, -2), 2, ...x.shape.slice(-2)], x.dtype) : neg(div(init, beside));
        for (let k = 0; k < iterations; k++) {
          const next = tidy(() => {
            const q = gradientField(neg(add(gradientAdjoint(p, 2), target)), 2);
            return div(add(p, mul(q, tau)), add(mul(sqrt(squaredLengths(q, params)), tau), 1));
          });
          p.dispose();
          p = next;
        }
        const dual = neg(mul(p, beside));
        const y = sub(x, gradientAdjoint(dual, 2));
        return { y, dual, ...certify(x, y, dual, bound, geometry), iterations: new Float64Array(imagesOf(x, geometry)).fill(iterations) };
      }),
    field: asField,
    exact: false,
    certified: true,
  };
}

export interface LaggedSettings {
  epsilon: number;
  tolerance: number;
  iterations: number;
}

/**
 * Lagged diffusivity, (y - x) / λ = div(Dy / (|Dx| + ε)) (Grossmann et al., eq. (5)): one linear system, by conjugate gradients. The dual is
 * that flux times λ; it need not lie in the constraint, and the gap that of its projection.
 */
export function laggedSolver({ epsilon, tolerance, iterations }: LaggedSettings): StepSolver {
  const params: Pick<RofParams, 'dims' | 'coupled'> = { dims: 2, coupled: false };
  return {
    solve: ({ x, lambda }) =>
      tidy(() => {
        const bound = spread(lambda, x);
        const beside = reshape(bound, [...x.shape.slice(0, -2), 1, 1, 1]);
        const weight = div(beside, add(sqrt(squaredLengths(gradientField(x, 2), params)), epsilon));
        const system = (v: Tensor, w: Tensor): Tensor => add(v, gradientAdjoint(mul(w, gradientField(v, 2)), 2));
        const y = conjugateGradients(system, x, { parameters: [weight], axes: 2, tolerance, iterations, start: x });
        const dual = mul(weight, gradientField(y, 2));
        const lengths = sqrt(squaredLengths(dual, params));
        const outside = compare.gt(lengths, beside);
        const feasible = select(outside, mul(dual, div(beside, select(outside, lengths, 1))), dual);
        return { y, dual, ...certify(x, y, feasible, bound, { isotropic: true, coupled: false }) };
      }),
    field: asField,
    exact: false,
    certified: false,
  };
}

/** Lambda with one entry per image, extent 1 along the image. */
function spread(lambda: number | Tensor, x: Tensor): Tensor {
  const shape = [...x.shape.slice(0, -2), 1, 1];
  return typeof lambda === 'number' ? full(shape, lambda, x.dtype) : reshape(cast(lambda, x.dtype), shape);
}

/** How many images flow by themselves. */
export const imagesOf = ({ shape }: Tensor, { coupled }: Geometry): number => sizeOf(shape.slice(0, coupled ? -3 : -2));

/** J(x), one number per image (per group of channels where these are coupled). */
export function variation(x: Tensor, { isotropic, coupled }: Geometry): Float64Array {
  return tidy(() => {
    const field = gradientField(cast(x, 'float64'), 2);
    const lengths = isotropic ? sqrt(squaredLengths(field, { dims: 2, coupled })) : abs(field);
    return imageSums(lengths, x, { coupled });
  });
}

/** Σ (a - b)² in double, one number per image. */
export function squaredDistance(a: Tensor, b: Tensor, coupled: boolean): Float64Array {
  return tidy(() => imageSums(square(sub(cast(a, 'float64'), cast(b, 'float64'))), a, { coupled }));
}

/** Sums over all but the axes that count images of x. */
export function imageSums(value: Tensor, x: Tensor, { coupled }: Pick<Geometry, 'coupled'>): Float64Array {
  const lead = x.rank - (coupled ? 3 : 2);
  const axes = Array.from({ length: value.rank - lead }, (_, k) => lead + k);
  return Float64Array.from(sum(value, { axes }).toTypedArray());
}

/** P(y) - D(dual) = λ J(y) - <dual, Dy> + ½ |y - (x + div dual)|² for a feasible dual. */
function certify(x: Tensor, y: Tensor, dual: Tensor, lambda: Tensor, geometry: Geometry): SolverReport {
  return tidy(() => {
    const [from, to, u] = [cast(x, 'float64'), cast(y, 'float64'), cast(dual, 'float64')];
    const total = variation(to, geometry);
    const pairing = imageSums(mul(u, gradientField(to, 2)), x, geometry);
    const residual = squaredDistance(to, sub(from, gradientAdjoint(u, 2)), geometry.coupled);
    const moved = squaredDistance(to, from, geometry.coupled);
    const weights = Float64Array.from(lambda.toTypedArray());
    const gap = total.map((j, i) => Math.max(0, (weights[i] as number) * j - (pairing[i] as number)) + 0.5 * (residual[i] as number));
    const objective = total.map((j, i) => (weights[i] as number) * j + 0.5 * (moved[i] as number));
    const relativeGap = gap.map((g, i) => ((objective[i] as number) === 0 ? 0 : g / (objective[i] as number)));
    return { gap, relativeGap, objective, iterations: gap.map(() => 0) };
  });
}

/** @throws TypeError for a value that is being differentiated: the flow has no derivative */
export function checkPlain(x: Tensor, name: string): void {
  if (x instanceof Tracer) throw new TypeError(`Expected a tensor with data for ${name} but received a value that is being differentiated`);
}
