import {
  checkOutputFormat,
  checkWritable,
  type Image,
  makeImage,
  type Picture,
  plane,
  readPicture,
  toChannels,
  writePicture,
} from '../../data/index.js';
import { applyDenoiser, applyInTiles, type Denoiser, denoiseWithTV } from '../../models/tvlayers/index.js';
import { loadAnyDenoiser } from '../denoiser.js';
import { UsageError } from '../failure.js';
import { formatNumber, Output } from '../output.js';

export interface DenoiseOptions {
  lambda: number | 'auto';
  isotropic?: boolean;
  model?: string;
  /** Of 255. */
  sigma?: number | 'auto';
  json?: boolean;
}

/** `tautgrad denoise IN OUT` */
export async function denoise(input: string, output: string, options: DenoiseOptions): Promise<void> {
  // What can fail at the end is checked before the work.
  if (options.sigma !== undefined && options.model === undefined) throw new UsageError('Expected --model with --sigma but received none');
  checkOutputFormat(output);
  await checkWritable(output);
  const picture = await readPicture(input);
  checkOutputFormat(output, picture);
  const started = performance.now();
  const { image, ...how } =
    options.model === undefined ? withTV(picture, options) : await withNetwork(picture.image, options.model, options.sigma ?? 'auto');
  const seconds = (performance.now() - started) / 1000;
  await writePicture(output, { ...picture, image });
  const { width, height, channels } = image;
  new Output(options).result(
    { input, output, width, height, channels, bitDepth: picture.bitDepth, alpha: picture.alpha !== null, ...how, seconds },
    `${output}: ${width}x${height} ${channels === 1 ? 'gray' : 'colour'}, ${picture.bitDepth} bits, ${sentence(how)}, ${formatNumber(seconds, 2)} s`,
  );
}

type How =
  | { method: 'total variation'; isotropic: boolean; lambda: number; sigma: number | null }
  | { method: 'network'; model: string; sigma: number | null };

function withTV({ image, bitDepth }: Picture, { lambda, isotropic = false }: DenoiseOptions): How & { image: Image } {
  // A gap of g per pixel bounds the root mean square error by sqrt(2 g): finer levels need a smaller gap.
  const tolerance = bitDepth === 8 ? 1e-4 : 1e-6;
  return { method: 'total variation', isotropic, ...denoiseWithTV(image, { lambda, isotropic, tolerance }) };
}

async function withNetwork(image: Image, path: string, sigma: number | 'auto'): Promise<How & { image: Image }> {
  const denoiser = await loadAnyDenoiser(path, applyToImage);
  try {
    return { method: 'network', model: path, ...denoiser.applyToPicture(image, sigma === 'auto' ? sigma : sigma / 255) };
  } finally {
    denoiser.dispose();
  }
}

/** A gray network treats each colour by itself; a colour network sees a gray image as three equal channels. */
export function applyToImage({ model, channels }: Denoiser, image: Image): Image {
  const apply = (part: Image): Image => applyInTiles((tile) => applyDenoiser(model, tile), part);
  if (channels === image.channels) return apply(image);
  if (channels === 3) return toChannels(apply(toChannels(image, 3)), 1);
  const out = makeImage(image.channels, image.height, image.width);
  for (let c = 0; c < image.channels; c++) {
    const single = makeImage(1, image.height, image.width, plane(image, c));
    plane(out, c).set(apply(single).data);
  }
  return out;
}

function sentence(how: How): string {
  const noise = how.sigma === null ? '' : ` for noise of ${formatNumber(how.sigma * 255, 3)} of 255`;
  if (how.method === 'network') return `denoised by ${how.model}${noise}`;
  return `${how.isotropic ? 'isotropic' : 'anisotropic'} total variation with lambda ${formatNumber(how.lambda, 3)}${noise}`;
}
