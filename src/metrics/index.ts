/** Quality measures for images. */
export { estimateNoise, estimateNoisePerChannel } from './noise-level.js';
export { mse, psnr } from './psnr.js';
export { type SsimOptions, ssim } from './ssim.js';
