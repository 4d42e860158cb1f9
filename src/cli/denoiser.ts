import type { Image } from '../data/index.js';
import { estimateNoise } from '../metrics/index.js';
import { denoiseImage, isNetworkFile, isPublishedTDV, loadNetwork, type VariationalNetwork } from '../models/tdv/index.js';
import { applyDenoiser, applyInTiles, type Denoiser, loadDenoiser } from '../models/tvlayers/index.js';
import { readSafetensors } from '../train/index.js';
import { UsageError } from './failure.js';

/** A denoiser of any family from a file. */
export interface AnyDenoiser {
  readonly channels: 1 | 3;
  /** Denoises an image, whole. `sigma`: its noise level, of 0 … 1; null: the level that the network was trained for. */
  apply(image: Image, sigma: number | null): Image;
  /** The same in tiles where the image is large, and for any number of channels. `sigma`: 'auto' estimates it. */
  applyToPicture(image: Image, sigma: number | 'auto'): { image: Image; sigma: number | null };
  dispose(): void;
}

/** Noise below this level of 255 is not worth a network's work, and its rescaling would amplify everything. */
const LEAST_SIGMA = 0.5 / 255;

/** A network of 32 features keeps some 20 maps of the image's size: tiles bound its memory to a gigabyte. */
const TILES = { size: 512, overlap: 96 };

export async function loadAnyDenoiser(path: string, byColour: (denoiser: Denoiser, image: Image) => Image): Promise<AnyDenoiser> {
  const file = await readSafetensors(path);
  if (!isPublishedTDV(file) && !isNetworkFile(file)) {
    const denoiser = await loadDenoiser(path);
    return {
      channels: denoiser.channels,
      apply: (image) => applyDenoiser(denoiser.model, image),
      applyToPicture: (image, sigma) => {
        if (sigma !== 'auto')
          throw new UsageError(`Expected no --sigma: the network of ${path} is for the one noise level of its training`);
        return { image: byColour(denoiser, image), sigma: null };
      },
      dispose: () => denoiser.model.dispose(),
    };
  }
  const network = await loadDenoisingNetwork(path);
  return {
    channels: network.options.channels === 3 ? 3 : 1,
    apply: (image, sigma) => denoiseImage(network, image, sigma === null ? {} : { sigma }),
    applyToPicture: (image, wanted) => {
      const sigma = Math.max(LEAST_SIGMA, wanted === 'auto' ? estimateNoise(image) : wanted);
      return { image: applyInTiles((tile) => denoiseImage(network, tile, { sigma }), image, TILES), sigma };
    },
    dispose: () => network.dispose(),
  };
}

/** @throws UsageError for networks of another task */
export async function loadDenoisingNetwork(path: string): Promise<VariationalNetwork> {
  const network = await loadNetwork(path);
  const { scale } = network.options;
  if (scale === 1) return network;
  network.dispose();
  throw new UsageError(`Expected a network for denoising but ${path} is one for super-resolution by ${scale}`);
}
