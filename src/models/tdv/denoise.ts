/** Images through a variational network. */
import { type Image, makeImage } from '../../data/index.js';
import { clamp } from '../../ops/index.js';
import { Tensor, tidy } from '../../tensor/index.js';
import type { VariationalNetwork } from './network.js';

/**
 * The denoised image, limited to 0 … 1. A gray network treats each colour by itself; a colour network sees a gray image as three equal
 * channels and the result is their mean.
 * @param options sigma: the noise level of the image, for values 0 … 1 (default: that of the network's training)
 * @throws RangeError for images smaller than 5 × 5, and networks of other than one or three channels
 */
export function denoiseImage(network: VariationalNetwork, image: Image, options: { sigma?: number } = {}): Image {
  const { height, width } = image;
  const { channels } = network.options;
  if (channels !== 1 && channels !== 3) throw new RangeError(`Expected a network for 1 or 3 channels but received one for ${channels}`);
  const size = height * width;
  // Gray networks take colours as a batch.
  const n = channels === 1 ? image.channels : 1;
  const input = channels === 3 && image.channels === 1 ? new Float32Array(3 * size) : image.data;
  if (input !== image.data) for (let c = 0; c < 3; c++) input.set(image.data, c * size);
  const output = tidy(
    () => clamp(network.run(Tensor.from(input, [n, channels, height, width]), options), 0, 1).toTypedArray() as Float32Array,
  );
  if (output.length === image.data.length) return makeImage(image.channels, height, width, output);
  const mean = new Float32Array(size);
  for (let i = 0; i < size; i++) mean[i] = (output[i]! + output[size + i]! + output[2 * size + i]!) / 3;
  return makeImage(1, height, width, mean);
}
