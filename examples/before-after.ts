/** Draws docs/denoised.png: a synthetic picture with noise, denoised by TV alone, and by the network of the main job (run `npm start` first). */
import { data, metrics, models } from 'tautgrad';

const sigma = 25 / 255;
const side = 160;
const gap = 6;
const clean = data.deadLeaves({ height: side, width: side, channels: 3, seed: 20 });
const noisy = data.addGaussianNoise(clean, sigma, 1);
const { model } = await models.tvlayers.loadDenoiser('runs/quickstart/model.safetensors');
const tv = models.tvlayers.denoiseWithTV(noisy, { lambda: 0.6 * sigma });
const network = models.tvlayers.applyDenoiser(model, noisy);

const panels = [noisy, tv.image, network];
const width = side * panels.length + gap * (panels.length - 1);
const sheet = data.makeImage(3, side, width, new Float32Array(3 * side * width).fill(1));
panels.forEach((panel, k) => {
  for (let row = 0; row < 3 * side; row++)
    sheet.data.set(panel.data.subarray(row * side, (row + 1) * side), row * width + k * (side + gap));
  console.log(`panel ${k + 1}: ${metrics.psnr(panel, clean).toFixed(2)} dB`);
});
await data.writeImage('docs/denoised.png', sheet);
