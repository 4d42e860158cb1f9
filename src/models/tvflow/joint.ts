/**
 * Joint space-time optimisation: the loss (9) minimised over the values of u and φ at all times at once, without a network (specification §4).
 */
import {
  add,
  checkFloat,
  compare,
  concat,
  div,
  mean,
  mul,
  narrow,
  reshape,
  select,
  sqrt,
  square,
  stack,
  sub,
  sum,
} from '../../ops/index.js';
import { Adam } from '../../optim/index.js';
import { formatShape, outsideScopes, sameShape, type Tensor, tidy } from '../../tensor/index.js';
import { checkLossOptions, type FlowLossOptions, type FlowLossTerms, flowLoss, scaledTvWeight } from './loss.js';
import { checkPlane, divergence, spatialGradient } from './operators.js';

export interface SpaceTimeOptions extends FlowLossOptions {
  /** As in the loss, but 1e-6 unless given: with the authors' 1e-4 the optimisation ends several dB further from the flow. */
  tvWeight?: number;
  /** Default 1. */
  endTime?: number;
  /** Equidistant times from 0 to endTime, both included. Default 50. */
  points?: number;
  /** Of Adam. Default 5e-3. */
  learningRate?: number;
  /** Default 2000. */
  iterations?: number;
  /** Called after every so many iterations (`historyEvery`, default 100) with the mean loss per image. */
  onIteration?: (iteration: number, loss: number) => void;
  historyEvery?: number;
}

export interface SpaceTimeSolution {
  /** [points, ..., h, w] */
  u: Tensor;
  /** [points, ..., 2, h, w], |φ| about 1 at most */
  phi: Tensor;
  times: number[];
  /** Mean loss per image, before the first iteration and after every `historyEvery`. */
  history: { iteration: number; loss: number }[];
}

/** In the initial φ = ∇f / (|∇f| + ε). */
const INITIAL_EPSILON = 1e-4;

/** The times between which u is differenced. */
interface Series {
  readonly u: Tensor;
  readonly phi: Tensor;
}

/**
 * The loss (9) of a series, summed over the images: temporal = mean over times and pixels of ((u_{k+1} - u_k) / dt - div φ_{k+1})², and the
 * other terms as `flowLoss` has them, their means running over times and pixels.
 * @param u [points, ..., h, w]
 * @param phi [points, ..., 2, h, w]
 * @param f [..., h, w]
 * @param dt time between two points
 */
export function spaceTimeLoss({ u, phi }: Series, f: Tensor, dt: number, options: FlowLossOptions = {}): FlowLossTerms {
  checkSeries(u, phi, f);
  return tidy(() => {
    const images = f.size / ((f.shape.at(-1) as number) * (f.shape.at(-2) as number));
    const steps = mul(sub(narrow(u, 0, 1), narrow(u, 0, 0, -1)), 1 / dt);
    const { phiBoundary } = checkLossOptions(options);
    const later = divergence(narrow(phi, 0, 1), phiBoundary);
    const temporal = mean(square(sub(steps, later)));
    // With ∂u/∂t = div φ everywhere, the first term of `flowLoss` is 0: it belongs to single times.
    const rest = flowLoss({ u, ut: divergence(phi, phiBoundary), phi, initial: reshape(narrow(u, 0, 0, 1), f.shape) }, f, options);
    const scaled = (x: Tensor): Tensor => mul(x, images);
    const terms = {
      temporal: scaled(temporal),
      tv: scaled(rest.tv),
      normalisation: scaled(rest.normalisation),
      initial: scaled(rest.initial),
    };
    const total = scaled(add(rest.total, temporal));
    return { total, ...terms };
  });
}

function checkSeries(u: Tensor, phi: Tensor, f: Tensor): void {
  checkFloat(f, 'f');
  checkPlane(f, 'f');
  const [h, w] = f.shape.slice(-2) as [number, number];
  const points = u.shape[0] ?? 0;
  if (points < 2 || !sameShape(u.shape, [points, ...f.shape]))
    throw new RangeError(`Expected at least 2 times of shape ${formatShape(f.shape)} for u but received shape ${formatShape(u.shape)}`);
  const shape = [points, ...f.shape.slice(0, -2), 2, h, w];
  if (!sameShape(phi.shape, shape))
    throw new RangeError(`Expected shape ${formatShape(shape)} for phi but received ${formatShape(phi.shape)}`);
}

/** The gradient of `spaceTimeLoss` in u and φ by hand: a third of the operations that reverse mode takes. */
export function spaceTimeGradient(
  { u, phi }: Series,
  f: Tensor,
  dt: number,
  options: FlowLossOptions = {},
): { loss: Tensor; u: Tensor; phi: Tensor } {
  checkSeries(u, phi, f);
  const { phiBoundary, tvWeight, initialWeight, epsilon, normalisation, minimalNorm } = checkLossOptions(options);
  return tidy(() => {
    const [h, w] = f.shape.slice(-2) as [number, number];
    const [points, pixels] = [u.shape[0] as number, h * w];
    const weight = scaledTvWeight(tvWeight, h, w);
    const gradient = spatialGradient(u, phiBoundary);
    const lengths = sqrt(add(sum(square(gradient), { axes: [-3], keepDims: true }), epsilon ** 2));
    const divPhi = divergence(phi, phiBoundary);
    const flat = [...u.shape];
    const q = sum(add(mul(u, divPhi), reshape(lengths, flat)), { axes: [-2, -1], keepDims: true });
    // r_k belongs to the step from k to k + 1.
    const r = sub(mul(sub(narrow(u, 0, 1), narrow(u, 0, 0, -1)), 1 / dt), narrow(divPhi, 0, 1));
    const byR = mul(r, 2 / ((points - 1) * pixels));
    const none = mul(narrow(byR, 0, 0, 1), 0);
    const before = concat([none, byR], 0);
    const after = concat([byR, none], 0);
    const byQ = mul(q, (2 * weight) / points);
    const start = sub(narrow(u, 0, 0, 1), reshape(f, [1, ...f.shape]));
    const first = mul(start, (2 * initialWeight) / pixels);
    const curvature = divergence(div(gradient, lengths), phiBoundary);
    const uTerm = add(mul(sub(before, after), 1 / dt), mul(byQ, sub(divPhi, curvature)));
    const gu = add(uTerm, concat([first, mul(narrow(uTerm, 0, 1), 0)], 0));
    let inner = sub(mul(byQ, u), before);
    if (minimalNorm > 0) inner = add(inner, mul(divPhi, (2 * minimalNorm) / (points * pixels)));
    const squares = sum(square(phi), { axes: [-3], keepDims: true });
    const outside = compare.gt(squares, 1);
    const scale = 2 / (points * pixels);
    const slope = normalisation === 'square' ? scale : div(scale / 2, sqrt(select(outside, squares, 1)));
    const excess = mul(select(outside, phi, 0), slope);
    const gphi = sub(excess, spatialGradient(inner, phiBoundary));
    const over = normalisation === 'square' ? sub(squares, 1) : sub(sqrt(squares), 1);
    let loss = add(
      add(sum(mul(square(r), 1 / ((points - 1) * pixels))), sum(mul(square(q), weight / points))),
      add(sum(mul(select(outside, over, 0), 1 / (points * pixels))), sum(mul(square(start), initialWeight / pixels))),
    );
    if (minimalNorm > 0) loss = add(loss, mul(sum(square(divPhi)), minimalNorm / (points * pixels)));
    return { loss, u: gu, phi: gphi };
  });
}

function checkCount(value: number, least: number, name: string): number {
  if (!Number.isInteger(value) || value < least)
    throw new RangeError(`Expected an integer >= ${least} for ${name} but received ${String(value)}`);
  return value;
}

/**
 * The flow of images from u(0) = f to endTime, by minimising the loss over u and φ with Adam, from u = f and φ = ∇f / (|∇f| + ε). Images of a
 * batch do not influence each other.
 * @param f [..., h, w]; the default times and weights are for values from 0 to about 5
 */
export function solveSpaceTime(f: Tensor, options: SpaceTimeOptions = {}): SpaceTimeSolution {
  const { endTime = 1, points = 50, learningRate = 5e-3, iterations = 2000, historyEvery = 100, onIteration, ...given } = options;
  const loss = { tvWeight: 1e-6, ...given };
  checkFloat(f, 'f');
  checkPlane(f, 'f');
  if (!(endTime > 0) || !Number.isFinite(endTime))
    throw new RangeError(`Expected a finite number > 0 for endTime but received ${String(endTime)}`);
  checkCount(points, 2, 'points');
  checkCount(iterations, 0, 'iterations');
  checkCount(historyEvery, 1, 'historyEvery');
  const { phiBoundary } = checkLossOptions(loss);
  const dt = endTime / (points - 1);
  const repeat = (x: Tensor): Tensor => stack(new Array<Tensor>(points).fill(x), 0);
  return tidy(() => {
    // With the frame ∇f is 0 there, and so is every gradient in φ: φ stays 0.
    const g = spatialGradient(f, phiBoundary);
    const phi0 = div(g, add(sqrt(sum(square(g), { axes: [-3], keepDims: true })), INITIAL_EPSILON));
    const variables = new Map([
      ['u', { value: repeat(f), trainable: true }],
      ['phi', { value: repeat(phi0), trainable: true }],
    ]);
    const series = (): { u: Tensor; phi: Tensor } => ({ u: variables.get('u')!.value, phi: variables.get('phi')!.value });
    const adam = outsideScopes(() => new Adam(variables, { learningRate }));
    const history: SpaceTimeSolution['history'] = [];
    const images = f.size / ((f.shape.at(-1) as number) * (f.shape.at(-2) as number));
    const record = (iteration: number, value: Tensor): void => {
      history.push({ iteration, loss: value.item() / images });
      if (iteration > 0) onIteration?.(iteration, value.item() / images);
    };
    try {
      for (let k = 0; k < iterations; k++) {
        tidy(() => {
          const gradient = spaceTimeGradient(series(), f, dt, loss);
          adam.step(
            new Map([
              ['u', gradient.u],
              ['phi', gradient.phi],
            ]),
          );
          if (k % historyEvery === 0) record(k, gradient.loss);
        });
      }
    } finally {
      adam.dispose();
    }
    tidy(() => record(iterations, spaceTimeLoss(series(), f, dt, loss).total));
    return { ...series(), times: Array.from({ length: points }, (_, k) => k * dt), history };
  });
}
