/** The inverse problems of `tautgrad reconstruct`: what is simulated from a clean image, and the direct method of each. */
import { extname } from 'node:path';
import { crop, FileError, type Image, makeImage, readImage, readNpy, toChannels } from '../../data/index.js';
import * as inverse from '../../inverse/index.js';
import { cast, compare, mean } from '../../ops/index.js';
import { type Tensor, tensor } from '../../tensor/index.js';
import { UsageError } from '../failure.js';

export interface CommonOptions {
  image?: string;
  size: number;
  /** Default: tdv with a network, else tv. */
  method?: string;
  lambda: number | 'auto';
  /** File of a network. */
  model?: string;
  /** The weight of the data beside a learned regulariser. */
  dataWeight: number | 'auto';
  /** The scale of the intensities that a learned regulariser sees. */
  contrast: number;
  /** Of the descent with a learned regulariser. */
  iterations: number;
  noise: number;
  out: string;
  seed: number;
  json?: boolean;
}

export interface CtOptions extends CommonOptions {
  angles: number;
  filter: inverse.FbpFilter;
}

export interface MriOptions extends CommonOptions {
  coils: number;
  acceleration: number;
  pattern: 'lines' | 'radial';
  mask?: string;
}

export interface SrOptions extends CommonOptions {
  scale: number;
}

export interface Problem {
  kind: 'ct' | 'mri' | 'sr';
  title: string;
  /** What was measured, in words. */
  description: string;
  /** Where the clean image comes from. */
  source: string;
  operator: inverse.LinearOperator;
  /** [..., height, width] */
  truth: Tensor;
  measured: Tensor;
  /** Standard deviation of the noise in `measured`. */
  noise: number;
  /** The factor of super-resolution; 1 for the other problems. */
  scale: number;
  /** The method without regularisation; called inside a scope. */
  direct: { name: string; run: () => Tensor };
  settings: [string, string | number][];
}

/** The image as a tensor [channels, height, width], the channels being a batch. */
const toTensor = ({ data, channels, height, width }: Image): Tensor => tensor(data, { shape: [channels, height, width], dtype: 'float32' });

export function toImage(x: Tensor): Image {
  const [channels, height, width] = x.shape as [number, number, number];
  return makeImage(channels, height, width, Float32Array.from(x.toTypedArray()));
}

async function readAny(path: string): Promise<Image> {
  if (extname(path).toLowerCase() !== '.npy') return readImage(path);
  const { shape, data } = await readNpy(path);
  if (shape.length !== 2 || data.length === 0) {
    throw new FileError(
      path,
      `Cannot use ${path}: expected an array of height x width but received ${shape.join(' x ') || 'a single number'}`,
    );
  }
  return makeImage(1, shape[0]!, shape[1]!, Float32Array.from(data));
}

/** The clean image: the given file, or the Shepp-Logan phantom. */
async function cleanImage({ image, size }: CommonOptions, gray: boolean): Promise<{ source: string; picture: Image }> {
  if (image === undefined) {
    const phantom = inverse.sheppLogan(size, { samples: 4 });
    const picture = makeImage(1, size, size, Float32Array.from(phantom.toTypedArray()));
    phantom.dispose();
    return { source: `Shepp-Logan phantom, ${size}x${size}`, picture };
  }
  const read = await readAny(image);
  return { source: image, picture: gray ? toChannels(read, 1) : read };
}

/** `tautgrad reconstruct ct` */
export async function ctProblem(options: CtOptions): Promise<Problem> {
  const { angles, filter, noise, seed } = options;
  const { source, picture } = await cleanImage(options, true);
  const operator = inverse.radon([picture.height, picture.width], { angles });
  const truth = toTensor(picture);
  const measured = inverse.addNoise(operator.apply(truth), noise, { seed });
  return {
    kind: 'ct',
    title: 'Computed tomography',
    description: `${angles} parallel-beam views of ${operator.detectors} detectors, noise of ${noise} of a pixel's length`,
    source,
    operator,
    truth,
    measured,
    noise,
    scale: 1,
    direct: { name: 'fbp', run: () => inverse.filteredBackProjection(operator, measured, { filter }) },
    settings: [
      ['views', angles],
      ['detectors', operator.detectors],
      ['filter of the back-projection', filter],
    ],
  };
}

/** `tautgrad reconstruct mri` */
export async function mriProblem(options: MriOptions): Promise<Problem> {
  const { coils, acceleration, pattern, noise, seed } = options;
  const { source, picture } = await cleanImage(options, true);
  const size = [picture.height, picture.width] as const;
  const mask = options.mask === undefined ? inverse.samplingMask(size, { pattern, acceleration, seed }) : await readMask(options.mask);
  const operator = inverse.mri(size, { mask, maps: inverse.coilSensitivities(size, coils) });
  const share = mean(cast(mask, 'float32')).item();
  mask.dispose();
  const truth = toTensor(picture);
  const measured = inverse.addNoise(operator.apply(truth), noise, { seed });
  return {
    kind: 'mri',
    title: 'Magnetic resonance imaging',
    description: `${coils} coils, ${(100 * share).toFixed(1)} % of k-space, noise of ${noise}`,
    source,
    operator,
    truth,
    measured,
    noise,
    scale: 1,
    direct: { name: 'zero-filling', run: () => operator.adjoint(measured) },
    settings: [
      ['coils', coils],
      ['mask', options.mask ?? `${pattern}, acceleration ${acceleration}`],
      ['share of k-space', share],
    ],
  };
}

/** White (or any value above one half) is sampled. */
async function readMask(path: string): Promise<Tensor> {
  const { data, height, width } = toChannels(await readAny(path), 1);
  const values = tensor(data, { shape: [height, width], dtype: 'float32' });
  const mask = compare.gt(values, 0.5);
  values.dispose();
  return mask;
}

/** `tautgrad reconstruct sr` */
export async function srProblem(options: SrOptions): Promise<Problem> {
  const { scale, noise, seed } = options;
  const { source, picture: whole } = await cleanImage(options, false);
  const [height, width] = [whole.height - (whole.height % scale), whole.width - (whole.width % scale)];
  if (height === 0 || width === 0) {
    throw new UsageError(`Expected an image of at least ${scale}x${scale} pixels but received ${whole.height}x${whole.width}`);
  }
  const truth = toTensor(crop(whole, 0, 0, height, width));
  const operator = inverse.bicubicResize([height, width], { scale: 1 / scale });
  const up = (): inverse.LinearOperator => inverse.bicubicResize([height / scale, width / scale], { scale });
  const measured = inverse.addNoise(operator.apply(truth), noise, { seed });
  return {
    kind: 'sr',
    title: 'Super-resolution',
    description: `bicubic (imresize) downsampling by ${scale}${noise > 0 ? `, noise of ${noise}` : ''}`,
    source,
    operator,
    truth,
    measured,
    noise,
    scale,
    direct: { name: 'bicubic', run: () => up().apply(measured) },
    settings: [['scale', scale]],
  };
}
