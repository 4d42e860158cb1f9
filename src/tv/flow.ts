/** The total-variation flow u_t = div φ: a model-driven solver with certified steps. */
import { checkFloat, mul, reshape, stack } from '../ops/index.js';
import { formatShape, outsideScopes, type Tensor, tidy, zeros } from '../tensor/index.js';
import { type FlowStep, type MarchPlan, type MarchState, march } from './flow-march.js';
import { allowedErrors, CONVENTIONS, checkBoolean, checkChoice, type FlowOptions, makeSolver, schedule } from './flow-options.js';
import { checkPlain, imagesOf, type StepSolver } from './flow-solvers.js';
import { checkTolerance } from './prox2d.js';

/** Relative gap of a step whose gap is left to the bound on the error. */
const LOOSEST = 0.1;

export interface Flow {
  /** Those reached: all that were asked for unless `onStep` ended the flow. */
  times: Float64Array;
  /** [times, ...f's shape] */
  u: Tensor;
  /**
   * [times, ..., 2, height, width] with `dual`: |φ| <= 1, the component of the differences between rows first, 0 where there is no next pixel.
   * Over the step of length dt that ends at this time u moved by λ div φ, λ = dt with the 'pde' convention. At time 0: that of the first step
   * (0 where there is none).
   */
  phi?: Tensor;
  /** Every step taken. */
  steps: FlowStep[];
  /**
   * Per time, one per image: a bound on the root mean square over the pixels of u - (the flow of the discrete total variation at that time),
   * from the steps' energies and gaps (Nochetto, Savaré & Verdi 2000); up to the rounding of f's type. NaN for 'lagged'; 0 on images of one row or column, whose
   * steps are exact.
   */
  errorBound: Float64Array[];
}

/**
 * The total-variation flow u_t = div φ, |φ| <= 1, J(u) = -<u, div φ>, u(0) = f, with no flux across the border, by implicit Euler steps
 * (Grossmann et al., eq. (2) and (6)). Differences are forward, 0 across the border. The mean is kept, 1-homogeneous: flow(c f) at c t is c times
 * flow(f) at t.
 * @param f [..., height, width], or [n] for one line; float32 or float64. Each image flows by itself, but all take the same steps.
 * @throws RangeError or TypeError for options out of range or at odds with each other
 * Not differentiable.
 */
export function flow(f: Tensor, options: FlowOptions): Flow {
  const run = new FlowRun(f, options, 'flow');
  return tidy(() => {
    const course = run.start();
    try {
      for (let turn = course.next(); !turn.done; ) turn = course.next(run.solver.solve(turn.value));
      return run.finish();
    } finally {
      course.return(); // the march gives back what it holds
      run.dispose();
    }
  });
}

/**
 * `flow` with its steps on a worker thread, so that the event loop stays free ('chambolle', 'lagged' and images of one row or column run
 * on this thread, with a turn of the event loop between steps).
 * @param options those of `flow`, and `signal` to give up
 * @throws the signal's reason when it aborts
 */
export async function flowAsync(f: Tensor, options: FlowOptions & { signal?: AbortSignal }): Promise<Flow> {
  const { signal } = options;
  signal?.throwIfAborted();
  const run = new FlowRun(f, options, 'flowAsync');
  const course = outsideScopes(() => run.start());
  try {
    for (let turn = outsideScopes(() => course.next()); !turn.done; ) {
      const { value: request } = turn;
      if (run.solver.solveAsync === undefined) await new Promise(setImmediate);
      signal?.throwIfAborted();
      const answer = await (run.solver.solveAsync?.(request, signal) ?? outsideScopes(() => run.solver.solve(request)));
      turn = outsideScopes(() => course.next(answer));
    }
    return outsideScopes(() => run.finish());
  } finally {
    course.return();
    run.dispose();
  }
}

/** A checked flow, and what it has recorded. */
class FlowRun {
  readonly solver: StepSolver;
  readonly #f: Tensor; // [..., height, width]
  readonly #line: boolean;
  readonly #options: FlowOptions;
  readonly #plan: MarchPlan;
  readonly #startsAtZero: boolean;
  readonly #times: number[] = [];
  readonly #u: Tensor[] = [];
  readonly #phi: Tensor[] = [];
  readonly #bounds: Float64Array[] = [];
  readonly #steps: FlowStep[] = [];

  constructor(f: Tensor, options: FlowOptions, name: string) {
    checkFloat(f, 'f');
    checkPlain(f, name);
    if (typeof options !== 'object' || options === null)
      throw new TypeError(`Expected an object for options but received ${String(options)}`);
    this.#options = options;
    this.#line = f.rank === 1;
    const coupled = checkChoice(options.channels ?? 'independent', ['independent', 'coupled'], 'channels') === 'coupled';
    const least = this.#line && !coupled ? 1 : coupled ? 3 : 2;
    if (f.rank < least || f.size === 0)
      throw new RangeError(`Expected at least one pixel and ${least} axes for f but received shape ${formatShape(f.shape)}`);
    this.#f = f.alias(this.#line ? [1, f.size] : f.shape);
    try {
      const geometry = { isotropic: checkBoolean(options.isotropic ?? true, 'isotropic'), coupled };
      if (coupled && !geometry.isotropic)
        throw new TypeError("Expected isotropic variation with channels 'coupled' but received isotropic: false");
      const { times, step } = schedule(options);
      this.solver = makeSolver(this.#f, options, geometry);
      this.#startsAtZero = times[0] === 0;
      this.#plan = {
        times: this.#startsAtZero ? times.slice(1) : times,
        step,
        accuracy: step === undefined ? allowedErrors(this.#f, options, coupled) : undefined,
        factor: CONVENTIONS[checkChoice(options.timeConvention ?? 'pde', ['pde', 'paper6', 'gilboa'], 'timeConvention')],
        // Chosen steps: the bound says what gap suffices, unless the user wants less.
        tolerance: step === undefined && options.tolerance === undefined ? LOOSEST : checkTolerance(options.tolerance),
        geometry,
        solver: this.solver,
      };
      checkBoolean(options.dual ?? false, 'dual');
      if (options.onStep !== undefined && typeof options.onStep !== 'function')
        throw new TypeError(`Expected a function for onStep but received ${typeof options.onStep}`);
    } catch (error) {
      this.#f.dispose();
      throw error;
    }
  }

  start(): ReturnType<typeof march> {
    if (this.#startsAtZero) {
      this.#times.push(0);
      this.#u.push(this.#f.alias());
      this.#bounds.push(new Float64Array(imagesOf(this.#f, this.#plan.geometry)));
    }
    return march(this.#f, this.#plan, (state) => this.#visit(state));
  }

  #visit(state: MarchState): boolean {
    const { u, dual, lambda, recorded, ...step } = state;
    this.#steps.push(step);
    const phi = (): Tensor => tidy(() => mul(this.solver.field(dual), 1 / lambda).alias());
    if (this.#options.dual && this.#startsAtZero && this.#phi.length === 0) this.#phi.push(phi());
    if (recorded !== undefined) {
      this.#times.push(step.time);
      this.#u.push(u.alias());
      this.#bounds.push(step.errorBound);
      if (this.#options.dual) this.#phi.push(phi());
    }
    const { onStep } = this.#options;
    if (onStep === undefined) return true;
    const seen = u.alias(this.#line ? [u.size] : u.shape);
    try {
      return onStep({ ...step, u: seen }) !== false;
    } finally {
      seen.dispose();
    }
  }

  finish(): Flow {
    const { shape, dtype, size } = this.#f;
    const count = this.#u.length;
    const fieldShape = [...shape.slice(0, -2), 2, ...shape.slice(-2)];
    const parts = tidy(() => {
      const u = count > 0 ? stack(this.#u, 0) : zeros([0, ...shape], dtype);
      const result = { u: this.#line ? reshape(u, [count, size]) : u };
      if (!this.#options.dual) return result;
      const phi = this.#phi.length > 0 ? this.#phi : Array.from({ length: count }, () => zeros(fieldShape, dtype));
      return { ...result, phi: count > 0 ? stack(phi, 0) : zeros([0, ...fieldShape], dtype) };
    });
    return { times: Float64Array.from(this.#times), ...parts, steps: this.#steps, errorBound: this.#bounds };
  }

  dispose(): void {
    for (const value of [this.#f, ...this.#u, ...this.#phi]) value.dispose();
  }
}
