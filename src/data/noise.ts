import { type Image, makeImage } from './image.js';
import { Random } from './random.js';

/**
 * The image plus independent Gaussian noise, not clamped (the convention of the denoising literature).
 *
 * @param sigma standard deviation in units of the image's values: 25 / 255 for "sigma = 25"
 * @param seed  the same seed gives the same noise
 */
export function addGaussianNoise(image: Image, sigma: number, seed: number): Image {
  if (!(sigma >= 0 && sigma < Infinity)) {
    throw new RangeError(`Expected a finite non-negative number for sigma but received ${sigma}`);
  }
  const out = makeImage(image.channels, image.height, image.width, image.data.slice());
  new Random(seed).addNormal(out.data, sigma);
  return out;
}
