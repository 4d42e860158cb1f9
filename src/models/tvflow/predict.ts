/** Predictions at many times, and of pictures. */
import { type Image, makeImage } from '../../data/index.js';
import { broadcastTo, checkFloat, concat, expandDims, mul, narrow, reshape } from '../../ops/index.js';
import { Tensor, tensor, tidy } from '../../tensor/index.js';
import type { Prediction, TVFlowNet } from './network.js';
import { checkPlane } from './operators.js';

/**
 * Pixels in one evaluation. Few: the 16 feature maps of two layers of an image of 96 × 96 just fit into a core's cache, and one such image at a
 * time takes 0.8 of the time of seven (`npm run bench -- tvflow`).
 */
const CHUNK = 1 << 14;

function checkTimes(times: readonly number[]): void {
  if (times.length === 0) throw new RangeError('Expected at least one time for times but received none');
  const bad = times.find((t) => !Number.isFinite(t));
  if (bad !== undefined) throw new RangeError(`Expected finite numbers for times but received ${bad}`);
}

/**
 * û and φ̂ at several times, the times in batches.
 * @param f [..., h, w], at the network's scale
 * @returns u: [times, ..., h, w], phi: [times, ..., 2, h, w]
 */
export function predictSeries(network: TVFlowNet, f: Tensor, times: readonly number[]): Prediction {
  checkFloat(f, 'f');
  checkPlane(f, 'f');
  checkTimes(times);
  return tidy(() => {
    const [h, w] = f.shape.slice(-2) as [number, number];
    const images = reshape(f, [-1, h, w]);
    const count = images.shape[0] as number;
    const step = Math.max(1, Math.floor(CHUNK / images.size));
    const parts: Prediction[] = [];
    for (let k = 0; k < times.length; k += step) {
      parts.push(
        tidy(() => {
          const some = times.slice(k, k + step);
          const repeated = broadcastTo(expandDims(images, 0), [some.length, count, h, w]);
          const t = tensor(
            some.flatMap((time) => new Array<number>(count).fill(time)),
            { dtype: f.dtype },
          );
          return network.predict(repeated, t);
        }),
      );
    }
    const lead = [times.length, ...f.shape.slice(0, -2)];
    const joined = (field: keyof Prediction): Tensor =>
      parts.length === 1
        ? parts[0]![field]
        : concat(
            parts.map((part) => part[field]),
            0,
          );
    return { u: reshape(joined('u'), [...lead, h, w]), phi: reshape(joined('phi'), [...lead, 2, h, w]) };
  });
}

/**
 * The flow of a picture with values 0 … 1 at several times, channel by channel. The times are those of the network: of the picture multiplied
 * by its scale.
 */
export function predictImages(network: TVFlowNet, image: Image, times: readonly number[]): Image[] {
  const { data, channels, height, width } = image;
  const { scale } = network.options;
  return tidy(() => {
    const { u } = predictSeries(network, mul(Tensor.from(data, [channels, height, width]), scale), times);
    return times.map((_, k) => makeImage(channels, height, width, mul(narrow(u, 0, k, k + 1), 1 / scale).toTypedArray() as Float32Array));
  });
}
