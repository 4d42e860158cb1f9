/** The regulariser on its own, for inverse problems that it was not trained for (specification §8). */
import type { Energy } from '../../inverse/index.js';
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
