/** Scores and pictures of networks that enlarge images. */
import { join } from 'node:path';
import { crop, deadLeaves, deriveSeed, type Image, makeImage, quantise, writeImage } from '../../data/index.js';
import { bicubicResize } from '../../inverse/index.js';
import { psnr } from '../../metrics/index.js';
import { downsampling, superResolve, type VariationalNetwork } from '../../models/tdv/index.js';
import type { RunOutcome } from '../../report/index.js';
import { Tensor, tidy } from '../../tensor/index.js';
import { type NamedImage, scoredCaption, zoomOf } from './denoising.js';

/** The image without the last rows and columns, so that the factor divides its sides. */
export function divisible(image: Image, scale: number): Image {
  return crop(image, 0, 0, image.height - (image.height % scale), image.width - (image.width % scale));
}

/** What bicubic interpolation and the network make of the image, made smaller by the factor. */
function enlarge(model: VariationalNetwork, { data, channels, height, width }: Image, scale: number): { bicubic: Image; result: Image } {
  return tidy(() => {
    const operator = downsampling([height, width], scale);
    // A gray network treats each colour by itself.
    const planes = model.options.channels === 1 ? [channels, 1] : [1, channels];
    const z = operator.apply(Tensor.from(data, [...planes, height, width]));
    const image = (x: Tensor): Image => makeImage(channels, height, width, Float32Array.from(x.toTypedArray()));
    const up = bicubicResize([height / scale, width / scale], { scale });
    return { bicubic: image(up.apply(z)), result: image(superResolve(model, operator, z)) };
  });
}

/** From a network to the mean PSNR (dB) of images that it has enlarged. */
export function enlargementEvaluator(images: readonly NamedImage[], scale: number): (model: VariationalNetwork) => number {
  const clean = images.map(({ image }) => divisible(image, scale));
  return (model) => clean.reduce((sum, image) => sum + psnr(enlarge(model, image, scale).result, image), 0) / clean.length;
}

/** Means over the validation images, and the first of them (or a synthetic picture) beside bicubic interpolation. */
export async function enlargementOutcome(options: {
  folder: string;
  model: VariationalNetwork;
  images: readonly NamedImage[];
  channels: 1 | 3;
  scale: number;
  seed: number;
  label: string;
}): Promise<Pick<RunOutcome, 'table' | 'pictures' | 'zoom'>> {
  const { folder, model, images, channels, scale, seed, label } = options;
  const synthetic = (): Image => deadLeaves({ height: 240, width: 240, channels, seed: deriveSeed(seed, 8) });
  const shown = images[0] ?? { name: 'dead leaves', image: synthetic() };
  const clean = quantise(divisible(shown.image, scale));
  const { bicubic, result } = enlarge(model, clean, scale);
  const pictures: RunOutcome['pictures'] = [];
  for (const [name, image, caption] of [
    ['clean', clean, `clean: ${shown.name}`],
    ['bicubic', bicubic, scoredCaption('bicubic', bicubic, clean)],
    ['network', result, scoredCaption('network', result, clean)],
  ] as const) {
    await writeImage(join(folder, `${name}.png`), image);
    pictures.push({ name, file: `${name}.png`, caption });
  }
  if (images.length === 0) return { table: null, pictures, zoom: zoomOf(clean) };
  const scores = images.map(({ image }) => {
    const whole = divisible(image, scale);
    const both = enlarge(model, whole, scale);
    return [psnr(both.bicubic, whole), psnr(both.result, whole)] as const;
  });
  const mean = (k: 0 | 1): number => scores.reduce((sum, pair) => sum + pair[k], 0) / scores.length;
  const table: RunOutcome['table'] = {
    caption: `Means over ${images.length} validation image${images.length === 1 ? '' : 's'}, all pixels.`,
    columns: ['method', 'PSNR (dB)'],
    rows: [
      ['bicubic', mean(0)],
      [label, mean(1)],
    ],
    digits: [0, 2],
  };
  return { table, pictures, zoom: zoomOf(clean) };
}
