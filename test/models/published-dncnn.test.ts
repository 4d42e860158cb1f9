/** The published DnCNN weights score what their authors report. */
import { describe, expect, it } from 'vitest';
import { data, metrics, models } from '../../src/index.js';
import { sharedFolder } from '../support/folders.js';
import { NumpyRandom } from '../support/numpy-random.js';

const weights = sharedFolder('data', 'weights', 'dncnn_25_gray.safetensors');
const set12 = sharedFolder('data', 'set12');
if (weights === null || set12 === null) console.warn('skipped: there are no published weights in ../shared/data');

describe.skipIf(weights === null || set12 === null)('DnCNN, sigma 25, gray', () => {
  it('30.45 dB on Set12', async () => {
    const { model } = await models.tvlayers.loadDenoiser(weights as string);
    expect(model.parameterCount).toBe(555_137);
    const scores: number[] = [];
    for (const path of await data.listImages(set12 as string)) {
      const image = data.toChannels(await data.readImage(path), 1);
      // The noise of the published figure: seed 0 for every image.
      const random = new NumpyRandom(0);
      const noisy = { ...image, data: image.data.map((v) => v + (25 / 255) * random.normal()) };
      scores.push(metrics.psnr(models.tvlayers.applyDenoiser(model, noisy), image));
    }
    expect(scores.length).toBe(12);
    const mean = scores.reduce((a, b) => a + b, 0) / 12;
    console.log(`Set12, sigma 25: ${mean.toFixed(3)} dB`);
    expect(Math.abs(mean - 30.45)).toBeLessThan(0.02);
  }, 300_000);
});
