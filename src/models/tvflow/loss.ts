/**
 * The unsupervised loss of Grossmann, Dittmer, Korolev and Schönlieb, "Unsupervised learning of the total variation flow", eq. (9): zero
 * exactly for a flow u_t = div φ of u(0) = f whose dual field φ shows that u_t is a subgradient. Reductions and weights as in the authors' code.
 */
import { add, checkFloat, mean, mul, relu, sqrt, square, sub, sum } from '../../ops/index.js';
import { formatShape, sameShape, type Tensor, tidy } from '../../tensor/index.js';
import { checkBoundary, checkPlane, divergence, type PhiBoundary, spatialGradient } from './operators.js';

export interface FlowLossOptions {
  phiBoundary?: PhiBoundary;
  /** Weight of the second term for images of 96 × 96 pixels; for others it is scaled by (96² / pixels)², as the bracket grows with the pixels. Default 1e-4. */
  tvWeight?: number;
  /** Weight of the last term. Default 1. */
  initialWeight?: number;
  /** In TV_ε(u) = Σ sqrt(|∇u|² + ε²). Default 1e-5. */
  epsilon?: number;
  /** What of |φ| may not exceed 1: its 'square' (default, the authors' code) or the 'length' itself (the paper). */
  normalisation?: 'square' | 'length';
  /** Weight of mean (div φ)², a term of the authors' later work. Default 0. */
  minimalNorm?: number;
}

/** The values at one time per image. Leading axes are a batch. */
export interface FlowState {
  /** û(t): [..., h, w] */
  u: Tensor;
  /** ∂û/∂t: [..., h, w] */
  ut: Tensor;
  /** φ̂(t): [..., 2, h, w], the component along rows first */
  phi: Tensor;
  /** û(0): [..., h, w]; may belong to other (or fewer) images than `u`. */
  initial: Tensor;
}

/** Scalars; `total` is their sum, with the minimal-norm term where it has a weight. */
export interface FlowLossTerms {
  total: Tensor;
  temporal: Tensor;
  tv: Tensor;
  normalisation: Tensor;
  initial: Tensor;
}

/** The settings with their defaults. @throws TypeError or RangeError for those outside their range */
export function checkLossOptions(options: FlowLossOptions): Required<FlowLossOptions> {
  const {
    phiBoundary = 'natural',
    tvWeight = 1e-4,
    initialWeight = 1,
    epsilon = 1e-5,
    normalisation = 'square',
    minimalNorm = 0,
  } = options;
  checkBoundary(phiBoundary);
  for (const [name, value] of Object.entries({ tvWeight, initialWeight, epsilon, minimalNorm })) {
    if (!(value >= 0) || !Number.isFinite(value))
      throw new RangeError(`Expected a finite number >= 0 for ${name} but received ${String(value)}`);
  }
  if (normalisation !== 'square' && normalisation !== 'length')
    throw new TypeError(`Expected 'square' or 'length' for normalisation but received ${String(normalisation)}`);
  return { phiBoundary, tvWeight, initialWeight, epsilon, normalisation, minimalNorm };
}

/** The weight of the second term for images of this size. */
export function scaledTvWeight(tvWeight: number, height: number, width: number): number {
  return tvWeight * (96 ** 2 / (height * width)) ** 2;
}

/** |φ|² over the components: [..., h, w]. */
const squaredLength = (phi: Tensor): Tensor => sum(square(phi), { axes: [-3] });

/**
 * temporal = mean (û_t - div φ̂)²; tv = w mean over images of (Σ û div φ̂ + TV_ε(û))²; normalisation = mean (|φ̂|² - 1)₊;
 * initial = mean (û(0) - f)².
 * @param f the images that `initial` belongs to, in its shape
 * Differentiable in everything.
 */
export function flowLoss({ u, ut, phi, initial }: FlowState, f: Tensor, options: FlowLossOptions = {}): FlowLossTerms {
  const { phiBoundary, tvWeight, initialWeight, epsilon, normalisation, minimalNorm } = checkLossOptions(options);
  checkFloat(u, 'u');
  checkPlane(u, 'u');
  const [h, w] = u.shape.slice(-2) as [number, number];
  const shapes: [string, Tensor, readonly number[]][] = [
    ['ut', ut, u.shape],
    ['phi', phi, [...u.shape.slice(0, -2), 2, h, w]],
    ['initial', initial, f.shape],
  ];
  for (const [name, x, shape] of shapes) {
    if (!sameShape(checkFloat(x, name).shape, shape))
      throw new RangeError(`Expected shape ${formatShape(shape)} for ${name} but received ${formatShape(x.shape)}`);
  }
  return tidy(() => {
    const div = divergence(phi, phiBoundary);
    const temporal = mean(square(sub(ut, div)));
    const lengths = sqrt(add(squaredLength(spatialGradient(u, phiBoundary)), epsilon ** 2));
    const bracket = sum(add(mul(u, div), lengths), { axes: [-2, -1] });
    const tv = mul(mean(square(bracket)), scaledTvWeight(tvWeight, h, w));
    const squares = squaredLength(phi);
    // The root of a square near 0 has no derivative; below length 1 the term is 0 whatever is rooted.
    const excess = normalisation === 'square' ? sub(squares, 1) : sub(sqrt(add(relu(sub(squares, 1)), 1)), 1);
    const outside = mean(relu(excess));
    const start = mul(mean(square(sub(initial, f))), initialWeight);
    let total = add(add(temporal, tv), add(outside, start));
    if (minimalNorm > 0) total = add(total, mul(mean(square(div)), minimalNorm));
    return { total, temporal, tv, normalisation: outside, initial: start };
  });
}
