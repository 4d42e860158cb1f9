/** The regulariser on its own, for inverse problems that it was not trained for (specification §8). */
import {
  type AcceleratedGradientOptions,
  type AcceleratedGradientResult,
  acceleratedGradient,
  bestLambda,
  type Energy,
  type LinearOperator,
  leastSquares,
  sumEnergies,
  type Trial,
  type Tuning,
} from '../../inverse/index.js';
import { mul, reshape, sum } from '../../ops/index.js';
import { formatShape, type Tensor, tidy } from '../../tensor/index.js';
import { energyAndGradient } from './gradient.js';
import type { VariationalNetwork } from './network.js';
import type { TotalDeepVariation } from './regularizer.js';

/**
 * x → weight · R(c x) / c² for `inverse.acceleratedGradient`, of images [..., h, w] (one channel) or [..., channels, h, w]; leading axes
 * are a batch whose energies add up.
 * @param contrast the scale c of the intensities, > 0. R has learned edges and noise of one size (0 … 1 with noise of 25 of 255); images
 *   whose errors are c times smaller are c times magnified for it. The Hessian stays that of R.
 */
export function regularizerEnergy(R: TotalDeepVariation, weight = 1, contrast = 1): Energy {
  if (!(weight >= 0 && weight < Number.POSITIVE_INFINITY)) {
    throw new RangeError(`Expected a finite number >= 0 for weight but received ${String(weight)}`);
  }
  if (!(contrast > 0 && contrast < Number.POSITIVE_INFINITY)) {
    throw new RangeError(`Expected a finite number > 0 for contrast but received ${String(contrast)}`);
  }
  const { channels, nu } = R.options;
  const images = (x: Tensor): Tensor => {
    const plane = x.shape.slice(-2);
    if (plane.length < 2 || (channels > 1 && x.shape[x.rank - 3] !== channels)) {
      throw new RangeError(`Expected images with ${channels} channel(s) for x but received shape ${formatShape(x.shape)}`);
    }
    const batch = reshape(x, [-1, channels, ...plane]);
    return contrast === 1 ? batch : mul(batch, contrast);
  };
  return {
    value: (x) => tidy(() => mul(sum(R.energy(images(x))), weight / contrast ** 2)),
    valueAndGradient: (x) =>
      tidy(() => {
        const { energy, gradient } = energyAndGradient(R.weights, images(x), nu);
        return { value: mul(sum(energy), weight / contrast ** 2), gradient: reshape(mul(gradient, weight / contrast), x.shape) };
      }),
  };
}

export interface LearnedReconstructOptions extends AcceleratedGradientOptions {
  /** The scale c of R(c x) / c². Default 1. */
  contrast?: number;
}

/**
 * A local minimum of lambda/2 |A x - z|² + R(c x) / c² near x0, by accelerated gradient descent with backtracking (Algorithm 1).
 * @param z measurements [..., outputShape]
 * @param lambda weight of the data, > 0: the larger, the weaker the regularisation
 * @param x0 first guess: images as for `regularizerEnergy`
 * @throws RangeError for a lambda or contrast out of range or shapes that do not fit
 */
export function reconstructWith(
  R: TotalDeepVariation,
  operator: LinearOperator,
  z: Tensor,
  lambda: number,
  x0: Tensor,
  options: LearnedReconstructOptions = {},
): AcceleratedGradientResult {
  if (!(lambda > 0 && lambda < Number.POSITIVE_INFINITY)) {
    throw new RangeError(`Expected a finite number > 0 for lambda but received ${String(lambda)}`);
  }
  const { contrast = 1, ...descent } = options;
  return acceleratedGradient(sumEnergies(leastSquares(operator, z, lambda), regularizerEnergy(R, 1, contrast)), x0, descent);
}

/**
 * The weight of the data that the network's own training suggests for measurements with another noise: λ/T, at which it removes noise of
 * its level σ from images, times (σ / noise)², as the likelihood of Gaussian noise asks. Where A measures images indirectly, the best
 * weight is this one times a factor of 1 to 10.
 * @param noise standard deviation of the measurements' noise, >= 0; below half a gray level of 255 it counts as that
 */
export function suggestedDataWeight(network: VariationalNetwork, noise: number): number {
  if (!(noise >= 0 && noise < Number.POSITIVE_INFINITY))
    throw new RangeError(`Expected a finite number >= 0 for noise but received ${String(noise)}`);
  const T = network.T.value.item();
  const ratio = network.lmbda === null || !(T > 0) ? 1 : network.lmbda.value.item() / T;
  return Math.max(ratio, 1e-3) * (network.options.sigma / Math.max(noise, 0.5 / 255)) ** 2;
}

/**
 * The weight of the data for which `reconstructWith` comes closest to the truth, with the reconstruction: `inverse.bestLambda`, as for total
 * variation. While searching, a third of the iterations.
 * @param truth images of x0's shape
 * @param x0 the first guess of the first trial
 * @param options those of `reconstructWith`, and `lambda`: where to start
 */
export function bestDataWeight(
  R: TotalDeepVariation,
  operator: LinearOperator,
  z: Tensor,
  truth: Tensor,
  x0: Tensor,
  { lambda: first, iterations = 100, ...rest }: LearnedReconstructOptions & { lambda: number },
): Tuning {
  // The Lipschitz constant is mostly that of the data term: the last trial's estimate saves the next one its search.
  let perLambda: number | undefined;
  const solve = ({ lambda, start = x0, final }: Trial): Tensor => {
    const result = reconstructWith(R, operator, z, lambda, start, {
      ...(perLambda !== undefined && { lipschitz: perLambda * lambda }),
      ...rest,
      iterations: final ? iterations : Math.ceil(iterations / 3),
    });
    perLambda = result.lipschitz / lambda;
    return result.x;
  };
  return bestLambda(solve, truth, first);
}
