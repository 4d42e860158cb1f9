import { basename } from 'node:path';
import { type Image, listImages, readImage, toChannels } from '../../data/index.js';
import { denoiseWithTV, type Score, scoreDenoiser } from '../../models/tvlayers/index.js';
import { loadAnyDenoiser } from '../denoiser.js';
import { UsageError } from '../failure.js';
import { formatTable, Output } from '../output.js';
import { meanScore } from '../training/denoising.js';
import { applyToImage } from './denoise.js';

export interface EvalDenoiseOptions {
  data: string;
  sigma: number;
  model?: string;
  lambda?: number | 'auto';
  isotropic?: boolean;
  seed: number;
  json?: boolean;
}

/** `tautgrad eval denoise` */
export async function evalDenoise(options: EvalDenoiseOptions): Promise<void> {
  const { data, sigma, seed, isotropic = false } = options;
  if (options.model === undefined && options.lambda === undefined) {
    throw new UsageError('Expected --model FILE or --lambda X for eval denoise but received neither');
  }
  const paths = await listImages(data);
  const denoiser = options.model === undefined ? null : await loadAnyDenoiser(options.model, applyToImage);
  const denoise = (noisy: Image): Image =>
    denoiser === null ? denoiseWithTV(noisy, { lambda: options.lambda!, isotropic }).image : denoiser.apply(noisy, sigma / 255);
  const output = new Output(options);
  const images: { name: string; image: Image }[] = [];
  for (const path of paths) {
    const image = await readImage(path);
    images.push({ name: basename(path), image: denoiser === null ? image : toChannels(image, denoiser.channels) });
  }
  const rows: Score[] = [];
  for (const score of scoreDenoiser(images, sigma / 255, denoise, seed)) {
    rows.push(score);
    output.note(`${rows.length}/${images.length} ${score.name}: ${score.psnr.toFixed(2)} dB`);
  }
  denoiser?.dispose();
  const mean = meanScore(rows);
  const cells = (s: Score) => [s.name, s.noisyPsnr.toFixed(2), s.psnr.toFixed(2), s.noisySsim.toFixed(4), s.ssim.toFixed(4)];
  output.result(
    {
      data,
      sigma,
      seed,
      ...(options.model !== undefined ? { model: options.model } : { lambda: options.lambda, isotropic }),
      ...mean,
      images: rows,
    },
    formatTable([['image', 'noisy dB', 'PSNR dB', 'noisy SSIM', 'SSIM'], ...rows.map(cells), cells({ name: 'mean', ...mean })]),
  );
}
