/** Scores and pictures of Gaussian denoisers, whatever network they are. */
import { basename, join } from 'node:path';
import {
  addGaussianNoise,
  crop,
  deadLeaves,
  deriveSeed,
  FileError,
  type Image,
  listImages,
  quantise,
  readImage,
  toChannels,
  writeImage,
} from '../../data/index.js';
import { psnr, ssim } from '../../metrics/index.js';
import { type Score, scoreDenoiser } from '../../models/tvlayers/index.js';
import type { Module } from '../../nn/index.js';
import type { RunOutcome } from '../../report/index.js';

export interface NamedImage {
  name: string;
  image: Image;
}

/** Larger pictures are cut to their middle: evaluations and pages should not wait for megapixels. */
const maxSide = 320;
/** Side of the smallest window of SSIM. */
const ssimSide = 11;

/** The middle of a large picture. */
export function middle(image: Image): Image {
  const height = Math.min(image.height, maxSide);
  const width = Math.min(image.width, maxSide);
  return crop(image, Math.floor((image.height - height) / 2), Math.floor((image.width - width) / 2), height, width);
}

/** The images of a folder in the asked channels, large ones cut to their middle. */
export async function readValidation(folder: string, channels: 1 | 3): Promise<NamedImage[]> {
  const images: NamedImage[] = [];
  for (const path of await listImages(folder)) {
    const image = middle(await readImage(path));
    if (Math.min(image.height, image.width) < ssimSide) {
      throw new FileError(
        path,
        `Expected images of at least ${ssimSide}x${ssimSide} pixels but ${path} has ${image.width}x${image.height}`,
      );
    }
    images.push({ name: basename(path), image: toChannels(image, channels) });
  }
  return images;
}

/**
 * From a network to the mean PSNR (dB) of its results on images with noise that is always the same.
 * @param sigma for values 0 … 1
 * @param apply from a noisy image to its estimate
 */
export function psnrEvaluator<M extends Module>(
  images: readonly NamedImage[],
  { sigma, seed }: { sigma: number; seed: number },
  apply: (model: M, noisy: Image) => Image,
): (model: M) => number {
  const pairs = images.map(({ image }, i) => ({ clean: image, noisy: addGaussianNoise(image, sigma, deriveSeed(seed, 3, i)) }));
  return (model) => pairs.reduce((sum, { clean, noisy }) => sum + psnr(apply(model, noisy), clean), 0) / pairs.length;
}

/** The means of the scores of several images. */
export function meanScore(rows: readonly Score[]): Omit<Score, 'name'> {
  const mean = (key: Exclude<keyof Score, 'name'>): number => rows.reduce((sum, row) => sum + row[key], 0) / rows.length;
  return { noisyPsnr: mean('noisyPsnr'), psnr: mean('psnr'), noisySsim: mean('noisySsim'), ssim: mean('ssim') };
}

/** "network: 28.12 dB, SSIM 0.812", of a picture as its file holds it. */
export function scoredCaption(name: string, image: Image, clean: Image): string {
  const ofFile = quantise(image);
  const structure = Math.min(clean.height, clean.width) >= ssimSide ? `, SSIM ${ssim(ofFile, clean).toFixed(3)}` : '';
  return `${name}: ${psnr(ofFile, clean).toFixed(2)} dB${structure}`;
}

/** The square in the middle that a page enlarges. */
export function zoomOf({ height, width }: Image): { top: number; left: number; size: number } {
  const size = Math.min(64, height, width);
  return { top: (height - size) / 2, left: (width - size) / 2, size };
}

/**
 * Means over the validation images, and the first of them (or a synthetic picture) before and after; the pictures are written to the folder.
 * @param denoise from a noisy image to its estimate
 * @param sigma for values 0 … 1
 * @param label what the network is called
 */
export async function denoisingOutcome(options: {
  folder: string;
  denoise: (noisy: Image) => Image;
  images: readonly NamedImage[];
  channels: 1 | 3;
  sigma: number;
  seed: number;
  label: string;
}): Promise<Pick<RunOutcome, 'table' | 'pictures' | 'zoom'>> {
  const { folder, denoise, images, channels, sigma, seed, label } = options;
  const shown = images[0] ?? {
    name: 'dead leaves',
    image: deadLeaves({ height: 240, width: 320, channels, seed: deriveSeed(seed, 8) }),
  };
  const clean = quantise(shown.image);
  const noisy = addGaussianNoise(clean, sigma, deriveSeed(seed, 6));
  const items = [
    { name: 'clean', image: clean, caption: `clean: ${shown.name}` },
    { name: 'noisy', image: noisy, caption: scoredCaption('noisy', noisy, clean) },
  ];
  const result = denoise(noisy);
  items.push({ name: 'network', image: result, caption: scoredCaption('network', result, clean) });
  const pictures: RunOutcome['pictures'] = [];
  for (const { name, image, caption } of items) {
    await writeImage(join(folder, `${name}.png`), image);
    pictures.push({ name, file: `${name}.png`, caption });
  }
  let table: RunOutcome['table'] = null;
  if (images.length > 0) {
    const mean = meanScore([...scoreDenoiser(images, sigma, denoise, seed)]);
    table = {
      caption: `Means over ${images.length} validation image${images.length === 1 ? '' : 's'}; SSIM with the 11×11 Gaussian window.`,
      columns: ['method', 'PSNR (dB)', 'SSIM'],
      rows: [
        ['noisy', mean.noisyPsnr, mean.noisySsim],
        [label, mean.psnr, mean.ssim],
      ],
      digits: [0, 2, 4],
    };
  }
  return { table, pictures, zoom: zoomOf(clean) };
}
