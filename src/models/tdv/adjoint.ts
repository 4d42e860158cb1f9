/**
 * The optimal control view of training (specification §4): the adjoint state equation (10), the gradients of the controls that follow from
 * it, and the first-order condition (11) for the stopping time. All of it equals reverse mode through the unrolled scheme, and needs the
 * memory of one step only.
 */
import { flatten, jvp, vjp } from '../../autodiff/index.js';
import { add, mul, sub, sum } from '../../ops/index.js';
import { formatShape, outsideScopes, sameShape, type Tensor, tidy } from '../../tensor/index.js';
import { energyGradient } from './gradient.js';
import type { VariationalNetwork } from './network.js';
import { type DataTerm, dataResolvent, operatorOf } from './scheme.js';
import type { Weights } from './weights.js';

export interface ControlOptions extends DataTerm {
  /** x_0. Default: Aᵀz. */
  initial?: Tensor;
  /** ∇l at x_S - y, for another loss than ½|u|². */
  lossGradient?: (difference: Tensor) => Tensor;
}

export interface Adjoint {
  /** x_0, …, x_S: [n, channels, h, w]. */
  states: Tensor[];
  /** p_0, …, p_S; the gradient of J in x_s is -p_s. */
  adjoints: Tensor[];
}

/** Solves (10) backwards: p_S = -(1/N) ∇l(x_S - y), p_s = (Id - a ∇²R(x_s)) B⁻¹ p_{s+1}. z: measurements, y: the true images. */
export function adjointStates(network: VariationalNetwork, z: Tensor, y: Tensor, options: ControlOptions = {}): Adjoint {
  const { lossGradient = (u: Tensor): Tensor => u, initial, ...term } = options;
  return tidy(() => {
    const states = network.states(z, { ...term, ...(initial && { initial }) });
    const last = states[states.length - 1] as Tensor;
    if (!sameShape(last.shape, y.shape)) {
      throw new RangeError(`Expected images of shape ${formatShape(last.shape)} for y but received ${formatShape(y.shape)}`);
    }
    const { a, tau } = network.stepSizes();
    let p = mul(lossGradient(sub(last, y)), -1 / (y.shape[0] as number));
    const adjoints = [p];
    for (let s = states.length - 2; s >= 0; s--) {
      p = tidy(() => {
        const q = dataResolvent(p, tau, term);
        // The Hessian is symmetric: its product with q is the derivative of the gradient along q.
        const curvature = jvp((x: Tensor) => network.R.gradient(x), [states[s] as Tensor] as const, [q] as const).tangent;
        return sub(q, mul(curvature, a));
      });
      adjoints.unshift(p);
    }
    return { states, adjoints };
  });
}

const sumOf = (a: Weights, b: Weights): Weights => {
  const [p, q] = [flatten(a), flatten(b)];
  return p.rebuild(p.leaves.map((leaf, i) => add(leaf, q.leaves[i] as Tensor)));
};
const inner = (a: Tensor, b: Tensor): number => tidy(() => sum(mul(a, b)).item());

/** dJ/dT and, in the released scheme, dJ/dλ, from the adjoint states. */
export function scalarGradients(
  network: VariationalNetwork,
  z: Tensor,
  { states, adjoints }: Adjoint,
  term: DataTerm = {},
): { T: number; lambda: number | null } {
  return tidy(() => {
    const { tau } = network.stepSizes();
    const { steps } = network.options;
    const operator = operatorOf(term);
    let [byT, byLambda] = [0, 0];
    for (let s = 0; s + 1 < states.length; s++) {
      tidy(() => {
        const q = dataResolvent(adjoints[s + 1] as Tensor, tau, term);
        const [x, next] = [states[s] as Tensor, states[s + 1] as Tensor];
        // ∂x_{s+1}/∂a = -B⁻¹ ∇R(x_s), ∂x_{s+1}/∂τ = B⁻¹ Aᵀ(z - A x_{s+1})
        byT += inner(q, network.R.gradient(x));
        byLambda -= inner(q, operator.adjoint(sub(z, operator.apply(next))));
      });
    }
    return network.lmbda === null ? { T: (byT + byLambda) / steps, lambda: null } : { T: byT / steps, lambda: byLambda / steps };
  });
}

/** dJ/dθ = a Σ_s ∂/∂θ <B⁻¹ p_{s+1}, ∇R(x_s, θ)>, as a tree like `network.R.weights`. */
export function weightGradients(network: VariationalNetwork, { states, adjoints }: Adjoint, term: DataTerm = {}): Weights {
  return tidy(() => {
    const { a, tau } = network.stepSizes();
    const weights = network.R.weights;
    const { nu } = network.options;
    let total: Weights | null = null;
    for (let s = 0; s + 1 < states.length; s++) {
      total = tidy(() => {
        const q = mul(dataResolvent(adjoints[s + 1] as Tensor, tau, term), a);
        const { pullback } = vjp((w: Weights) => energyGradient(w, states[s] as Tensor, nu), weights);
        const [part] = pullback(q);
        return total === null ? part : sumOf(total, part);
      });
    }
    return total as unknown as Weights;
  });
}

/**
 * The left-hand side of (11): (1/N) Σ_i Σ_s <p_{s+1}, B⁻¹ (x_{s+1} - x_s)> (1/N is part of p). It is the derivative of -J along the time
 * axis (T, and λ with it): positive while flowing longer helps, zero at the best stopping time.
 */
export function stoppingCondition(network: VariationalNetwork, { states, adjoints }: Adjoint, term: DataTerm = {}): number {
  return tidy(() => {
    const { tau } = network.stepSizes();
    let total = 0;
    for (let s = 0; s + 1 < states.length; s++) {
      tidy(() => {
        const difference = sub(states[s + 1] as Tensor, states[s] as Tensor);
        total += inner(adjoints[s + 1] as Tensor, dataResolvent(difference, tau, term));
      });
    }
    return total;
  });
}

export interface StoppingOptions extends ControlOptions {
  /** Factors on the time between which the best one is looked for. Default 1/8 and 8. */
  from?: number;
  to?: number;
  /** Relative width of the bracket at which the search ends. Default 1e-3. */
  tolerance?: number;
}

/** Factor between the times at which a change of sign is looked for. */
const STRIDE = Math.SQRT2;

/**
 * Early stopping: the shortest time at which the first-order condition (11) holds for these images, by bisection between the first two
 * times, going up, where its sign changes (far beyond it the explicit step in R is unstable, and the sign means nothing). θ stays; the
 * whole time axis (T, and λ with it) is scaled.
 * @returns the factor on the network's T, and the product T; a factor at an end of the range when the condition has no zero inside
 */
export function bestStoppingTime(
  network: VariationalNetwork,
  z: Tensor,
  y: Tensor,
  options: StoppingOptions = {},
): { factor: number; T: number } {
  const { from = 1 / 8, to = 8, tolerance = 1e-3, ...control } = options;
  if (!(from > 0 && from < to && to < Number.POSITIVE_INFINITY)) {
    throw new RangeError(`Expected 0 < from < to for the range of factors but received ${String(from)} and ${String(to)}`);
  }
  if (!(tolerance > 0)) throw new RangeError(`Expected a number > 0 for tolerance but received ${String(tolerance)}`);
  const condition = (factor: number): number =>
    atTime(network, factor, () => tidy(() => stoppingCondition(network, adjointStates(network, z, y, control), control)));
  const T = network.T.value.item();
  let [low, high] = [from, from];
  // Positive while flowing longer helps.
  while (condition(high) > 0) {
    low = high;
    if (high === to) break;
    high = Math.min(to, high * STRIDE);
  }
  while (high / low > 1 + tolerance) {
    const middle = Math.sqrt(low * high);
    if (condition(middle) > 0) low = middle;
    else high = middle;
  }
  const factor = Math.sqrt(low * high);
  return { factor, T: factor * T };
}

/** Runs `body` with the time axis scaled: T, and λ with it. */
export function atTime<R>(network: VariationalNetwork, factor: number, body: () => R): R {
  const scaled = [network.T, ...(network.lmbda ? [network.lmbda] : [])];
  const originals = scaled.map((parameter) => parameter.value);
  const values = originals.map((value) => outsideScopes(() => mul(value, factor)));
  scaled.forEach((parameter, i) => {
    parameter.value = values[i] as Tensor;
  });
  try {
    return body();
  } finally {
    scaled.forEach((parameter, i) => {
      parameter.value = originals[i] as Tensor;
      values[i]?.dispose();
    });
  }
}
