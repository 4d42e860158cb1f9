/** The regulariser on its own, for inverse problems that it was not trained for (specification §8). */
import {
  type AcceleratedGradientOptions,
  type AcceleratedGradientResult,
  acceleratedGradient,
  type Energy,
  type LinearOperator,
  leastSquares,
  sumEnergies,
} from '../../inverse/index.js';
import { mul, reshape, sum } from '../../ops/index.js';
import { formatShape, type Tensor, tidy } from '../../tensor/index.js';
import { energyAndGradient } from './gradient.js';
import type { TotalDeepVariation } from './regularizer.js';

/**
 * x → weight · R(x) for `inverse.acceleratedGradient`, of images [..., h, w] (one channel) or [..., channels, h, w]; leading axes are a
 * batch whose energies add up.
 */
export function regularizerEnergy(R: TotalDeepVariation, weight = 1): Energy {
  if (!(weight >= 0 && weight < Number.POSITIVE_INFINITY)) {
    throw new RangeError(`Expected a finite number >= 0 for weight but received ${String(weight)}`);
  }
  const { channels, nu } = R.options;
  const images = (x: Tensor): Tensor => {
    const plane = x.shape.slice(-2);
    if (plane.length < 2 || (channels > 1 && x.shape[x.rank - 3] !== channels)) {
      throw new RangeError(`Expected images with ${channels} channel(s) for x but received shape ${formatShape(x.shape)}`);
    }
    return reshape(x, [-1, channels, ...plane]);
  };
  return {
    value: (x) => tidy(() => mul(sum(R.energy(images(x))), weight)),
    valueAndGradient: (x) =>
      tidy(() => {
        const { energy, gradient } = energyAndGradient(R.weights, images(x), nu);
        return { value: mul(sum(energy), weight), gradient: reshape(mul(gradient, weight), x.shape) };
      }),
  };
}

/**
 * A local minimum of lambda/2 |A x - z|² + R(x) near x0, by accelerated gradient descent with backtracking (Algorithm 1).
 * @param z measurements [..., outputShape]
 * @param lambda weight of the data, > 0: the larger, the weaker the regularisation
 * @param x0 first guess: images as for `regularizerEnergy`
 * @throws RangeError for a lambda out of range or shapes that do not fit
 */
export function reconstructWith(
  R: TotalDeepVariation,
  operator: LinearOperator,
  z: Tensor,
  lambda: number,
  x0: Tensor,
  options: AcceleratedGradientOptions = {},
): AcceleratedGradientResult {
  if (!(lambda > 0 && lambda < Number.POSITIVE_INFINITY)) {
    throw new RangeError(`Expected a finite number > 0 for lambda but received ${String(lambda)}`);
  }
  return acceleratedGradient(sumEnergies(leastSquares(operator, z, lambda), regularizerEnergy(R)), x0, options);
}
