/**
 * Marching the total-variation flow: implicit Euler steps (Grossmann et al., eq. (6)) whose lengths are given or chosen, and a certified
 * bound on the distance from the flow itself.
 *
 * The bound. Let U_n = U_{n-1} + τ div φ_n, |φ_n| <= 1, with duality gap g_n, so that -div φ_n is an (g_n/τ)-subgradient of J at U_n. Between
 * the steps let U be linear. With the flow -u' ∈ ∂J(u), convexity of J and s = the rest of the step,
 *   ½ d/dt |u - U|² <= J(U) - J(U_n) + g_n/τ + <U', U - U_n> <= s/τ (J(U_{n-1}) - J(U_n) - |U_n - U_{n-1}|²/τ) + g_n/τ
 * so each step adds at most
 *   A_n = τ (J(U_{n-1}) - J(U_n)) - |U_n - U_{n-1}|² + 2 g_n
 * to |u - U|² (Nochetto, Savaré & Verdi 2000, with the gap added). A residual r = U_n - U_{n-1} - τ div φ_n, |r|² <= 2 g_n, adds
 * |r| |U_n - U_{n-1}| below the root and 2 |r| beside it.
 */
import { mul } from '../ops/index.js';
import { type Tensor, tidy } from '../tensor/index.js';
import { StepControl } from './flow-control.js';
import { type Geometry, type StepAnswer, type StepRequest, type StepSolver, squaredDistance, variation } from './flow-solvers.js';

/** What happened in one step, one entry per image in the order of the leading axes. */
export interface FlowStep {
  /** The time that the step reached, and its length. */
  time: number;
  step: number;
  /** Certified duality gap of the step's problem ½|v - u|² + λ J(v). */
  gap: Float64Array;
  /** The gap divided by that objective. */
  relativeGap: Float64Array;
  iterations: Float64Array;
  /** Bound on the root mean square of u - (the flow at `time`); see `Flow.errorBound`. */
  errorBound: Float64Array;
  /** J(u) */
  variation: Float64Array;
}

export interface MarchState extends FlowStep {
  /** Owned by the march: whoever keeps it takes a handle of its own. */
  u: Tensor;
  /** The dual of the step over its lambda is φ. */
  dual: Tensor;
  lambda: number;
  /** Index into the times asked for, where this step reached one. */
  recorded: number | undefined;
}

export interface MarchPlan {
  /** Increasing, > 0. */
  times: readonly number[];
  /** Longest step; each stretch between two times is cut into equal ones. Undefined: steps chosen by `accuracy`. */
  step: number | undefined;
  /** Bound on the root mean square error at every time, one per image, in the data's units. */
  accuracy: Float64Array | undefined;
  /** λ = factor · step length. */
  factor: number;
  /** Relative duality gap of a step (an upper limit where steps are chosen). */
  tolerance: number;
  geometry: Geometry;
  solver: StepSolver;
}

export type March = Generator<StepRequest, void, StepAnswer>;

/** Values of a dual in float32 resolve no smaller gap. */
const FINEST_TOLERANCE = { float32: 2e-7, float64: 1e-12 };

/**
 * The march as a generator: it asks for steps and hears their answers, so that one loop serves solvers on this thread and off it. `visit`
 * sees every accepted step, and ends the march by returning false.
 */
export function* march(f: Tensor, plan: MarchPlan, visit: (state: MarchState) => boolean): March {
  const { solver, geometry, factor } = plan;
  let u = f.alias();
  let dual: Tensor | undefined;
  let dualLambda = 0;
  let energy = variation(f, geometry);
  const images = energy.length;
  const pixels = f.size / images;
  let squared: Float64Array = new Float64Array(images); // the bound's square, summed over pixels
  const control = plan.accuracy === undefined ? undefined : new StepControl(plan.times.at(-1) as number, plan.accuracy, pixels);
  let time = 0;
  try {
    for (const [index, target] of plan.times.entries()) {
      while (time < target) {
        const rest = target - time;
        const count =
          solver.exact && plan.step === undefined
            ? 1
            : plan.step !== undefined
              ? Math.max(1, Math.ceil(rest / plan.step - 1e-9))
              : (control as StepControl).pieces(rest);
        const step = rest / count;
        const last = count === 1;
        const lambda = factor * step;
        const init = dual === undefined || Math.abs(lambda / dualLambda - 1) < 1e-9 ? dual?.alias() : rescale(dual, lambda / dualLambda);
        const tolerance =
          control === undefined
            ? plan.tolerance
            : Math.max(
                FINEST_TOLERANCE[f.dtype as 'float32' | 'float64'],
                Math.min(plan.tolerance, control.tolerance(time, step, energy, lambda)),
              );
        const answer = yield { x: u, lambda, init, tolerance };
        init?.dispose();
        dual?.dispose();
        dual = answer.dual;
        dualLambda = lambda;
        const moved = squaredDistance(answer.y, u, geometry.coupled);
        const next = answer.objective.map((p, i) => (p - 0.5 * (moved[i] as number)) / lambda);
        const defect = moved.map((d, i) => Math.max(0, lambda * ((energy[i] as number) - (next[i] as number)) - d));
        const sums = solver.exact ? squared : bound(squared, defect, answer.gap, moved, geometry.isotropic);
        if (control !== undefined && !solver.exact && !control.accept(time, step, squared, sums, answer.gap)) {
          answer.y.dispose();
          continue;
        }
        u.dispose();
        u = answer.y;
        energy = next;
        squared = sums;
        time = last ? target : time + step;
        const going = visit({
          time,
          step,
          u,
          dual,
          lambda,
          gap: answer.gap,
          relativeGap: answer.relativeGap,
          iterations: answer.iterations,
          errorBound: squared.map((value) => (solver.certified ? Math.sqrt(value / pixels) : Number.NaN)),
          variation: energy,
          recorded: last ? index : undefined,
        });
        if (!going) return;
      }
    }
  } finally {
    u.dispose();
    dual?.dispose();
  }
}

/** factor · dual, outside the scopes. */
function rescale(dual: Tensor, factor: number): Tensor {
  return tidy(() => mul(dual, factor).alias());
}

/** The squares of the bounds after a step. */
function bound(before: Float64Array, defect: Float64Array, gap: Float64Array, moved: Float64Array, consistent: boolean): Float64Array {
  return before.map((square, i) => {
    const sum = square + (defect[i] as number) + 2 * (gap[i] as number);
    if (consistent) return sum;
    const residual = Math.sqrt(2 * (gap[i] as number));
    return (Math.sqrt(sum + residual * Math.sqrt(moved[i] as number)) + 2 * residual) ** 2;
  });
}
