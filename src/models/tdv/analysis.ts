/**
 * What a trained regulariser has learned (specification §6, §7, §12): nonlinear eigenfunctions, the deep variation of a pixel over contrast
 * and noise, the sensitivity of the trajectory to the controls, and the loss and the first-order condition over the stopping time.
 */
import { add, mul, narrow, square, sub, sum } from '../../ops/index.js';
import { formatShape, Generator, sameShape, type Tensor, tidy } from '../../tensor/index.js';
import { adjointStates, atTime, type ControlOptions, stoppingCondition } from './adjoint.js';
import { energyAndGradient } from './gradient.js';
import type { VariationalNetwork } from './network.js';
import type { TotalDeepVariation } from './regularizer.js';

const inner = (a: Tensor, b: Tensor): number => tidy(() => sum(mul(a, b)).item());
const norm = (x: Tensor): number => tidy(() => Math.sqrt(sum(square(x)).item()));

function checkIterations(value: number): number {
  if (!Number.isInteger(value) || value < 1) throw new RangeError(`Expected an integer >= 1 for iterations but received ${String(value)}`);
  return value;
}

export interface EigenOptions {
  /** Steps of the accelerated projected gradient. Default 200. */
  iterations?: number;
  /** First step size; it is halved whenever the energy would rise. Default 0.05. */
  stepSize?: number;
}

export interface Eigenfunction {
  /** On the sphere |x| = |x_0|. */
  x: Tensor;
  /** Λ = <∇R(x), x> / |x|² */
  eigenvalue: number;
  /** |∇R(x) - Λ x| / |∇R(x)|: 0 at an eigenfunction. */
  residual: number;
  /** R after each step. */
  energies: number[];
}

/**
 * A nonlinear eigenfunction ∇R(x) = Λ x on the sphere through x_0 (eq. (15)): a stationary point of R there, by the accelerated projected
 * gradient, x̄ = x_k + (k-1)/(k+2) (x_k - x_{k-1}), v = x̄ - τ ∇R(x̄), x_{k+1} = |x_0| v / |v|. Where the energy would rise, the momentum is
 * dropped first and the step halved next.
 * @param x0 one image [1, channels, h, w] other than zero
 */
export function eigenfunction(R: TotalDeepVariation, x0: Tensor, options: EigenOptions = {}): Eigenfunction {
  const { iterations = 200, stepSize = 0.05 } = options;
  checkIterations(iterations);
  if (!(stepSize > 0 && stepSize < Number.POSITIVE_INFINITY))
    throw new RangeError(`Expected a number > 0 for stepSize but received ${String(stepSize)}`);
  const radius = norm(x0);
  if (!(radius > 0)) throw new RangeError('Expected an image other than zero for x0');
  const { weights } = R;
  const { nu } = R.options;
  return tidy(() => {
    const onSphere = (v: Tensor): Tensor => mul(v, radius / norm(v));
    const energies: number[] = [];
    let [x, last, tau, momentum] = [x0.own(), x0.own(), stepSize, 1];
    let value = sum(R.energy(x)).item();
    for (let k = 0; k < iterations; k++) {
      const next = tidy(() => {
        for (;;) {
          const ahead = momentum > 1 ? add(x, mul(sub(x, last), (momentum - 1) / (momentum + 2))) : x;
          const candidate = onSphere(sub(ahead, mul(R.gradient(ahead), tau)));
          const energy = sum(R.energy(candidate)).item();
          if (energy <= value || tau < 1e-12) {
            value = Math.min(value, energy);
            return candidate;
          }
          if (momentum > 1) momentum = 1;
          else tau /= 2;
        }
      });
      momentum++;
      last.dispose();
      [last, x] = [x, next];
      energies.push(value);
    }
    const gradient = energyAndGradient(weights, x, nu).gradient;
    const eigenvalue = inner(gradient, x) / (radius * radius);
    return { x, eigenvalue, residual: norm(sub(gradient, mul(x, eigenvalue))) / norm(gradient), energies };
  });
}

/**
 * The deep variation of the centre pixel of ξ₁ x + ξ₂ n for contrasts ξ₁ and noise ξ₂ (Fig. 2): rows are noise levels.
 * @param x one image [1, channels, h, w], for example a patch around an edge without its mean
 * @param options seed of n, standard normal. Default 0.
 */
export function variationSurface(
  R: TotalDeepVariation,
  x: Tensor,
  contrasts: readonly number[],
  noises: readonly number[],
  options: { seed?: number } = {},
): number[][] {
  const [, , h, w] = x.shape as [number, number, number, number];
  return tidy(() => {
    const n = new Generator(options.seed ?? 0).normal(x.shape);
    return noises.map((noise) =>
      contrasts.map((contrast) =>
        tidy(() => {
          const r = R.forward(add(mul(x, contrast), mul(n, noise)));
          return narrow(narrow(r, 2, h >> 1, (h >> 1) + 1), 3, w >> 1, (w >> 1) + 1).item();
        }),
      ),
    );
  });
}

export interface Sensitivity {
  /** |x_s - x̃_s| for s = 0 … S. */
  differences: number[];
  /** The bound (14) on them. */
  bounds: number[];
}

/**
 * How far two networks' trajectories from the same data part, and the bound of Theorem 3.2 (eq. (14)), as the recursion that starts from 0.
 * The Lipschitz constant (13) is that of the step along the two sequences.
 */
export function sensitivity(a: VariationalNetwork, b: VariationalNetwork, z: Tensor): Sensitivity {
  if (a.options.steps !== b.options.steps) {
    throw new RangeError(`Expected networks with as many steps but received ${a.options.steps} and ${b.options.steps}`);
  }
  return tidy(() => {
    const [xs, ys] = [a.states(z), b.states(z)];
    const sizes = (network: VariationalNetwork): { a: number; tau: number } => {
      const { a, tau } = network.stepSizes();
      return { a: a.item(), tau: tau.item() };
    };
    const [p, q] = [sizes(a), sizes(b)];
    const differences = [0];
    const bounds = [0];
    for (let s = 0; s < a.options.steps; s++) {
      tidy(() => {
        const [x, y] = [xs[s] as Tensor, ys[s] as Tensor];
        const own = a.R.gradient(x);
        const [others, atOther] = [b.R.gradient(x), b.R.gradient(y)];
        const difference = norm(sub(x, y));
        // (13): |(x - ã ∇R̃(x)) - (y - ã ∇R̃(y))| <= L |x - y|
        const moved = norm(sub(sub(x, mul(others, q.a)), sub(y, mul(atOther, q.a))));
        const lipschitz = difference > 0 ? moved / difference : 0;
        const [B, other] = [1 / (1 + p.tau), 1 / (1 + q.tau)];
        const inside = add(sub(x, mul(own, p.a)), mul(z, p.tau));
        bounds.push(
          Math.abs(B - other) * norm(inside) +
            other *
              (Math.abs(p.a - q.a) * norm(own) +
                Math.abs(p.tau - q.tau) * norm(z) +
                q.a * norm(sub(own, others)) +
                lipschitz * (bounds[s] as number)),
        );
        differences.push(norm(sub(xs[s + 1] as Tensor, ys[s + 1] as Tensor)));
      });
    }
    return { differences, bounds };
  });
}

export interface TimePoint {
  /** Factor on the learned stopping time. */
  factor: number;
  T: number;
  /** dB, over the whole batch, for values 0 … 1. */
  psnr: number;
  /** The left-hand side of (11). */
  condition: number;
}

/** PSNR and the first-order condition (11) over the stopping time, the weights and the number of steps fixed (Fig. 4). */
export function timeCurve(
  network: VariationalNetwork,
  z: Tensor,
  y: Tensor,
  factors: readonly number[],
  options: ControlOptions = {},
): TimePoint[] {
  if (!sameShape(z.shape, y.shape) && options.operator === undefined) {
    throw new RangeError(`Expected images of shape ${formatShape(z.shape)} for y but received ${formatShape(y.shape)}`);
  }
  const T = network.T.value.item();
  return factors.map((factor) =>
    atTime(network, factor, () =>
      tidy(() => {
        const adjoint = adjointStates(network, z, y, options);
        const error = norm(sub(adjoint.states[adjoint.states.length - 1] as Tensor, y));
        return {
          factor,
          T: factor * T,
          psnr: -20 * Math.log10(error / Math.sqrt(y.size)),
          condition: stoppingCondition(network, adjoint, options),
        };
      }),
    ),
  );
}
