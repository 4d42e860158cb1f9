export { applyDenoiser, type DenoisingOptions, denoisingTrainer, lambdas, type Score, scoreDenoiser } from './denoising.js';
export { DnCNN, type DnCNNOptions, DnCNNTV, type DnCNNTVOptions } from './dncnn-tv.js';
export { type Denoiser, describeDenoiser, loadDenoiser } from './load-denoiser.js';
export { bestLambda, denoiseWithTV, lambdaForNoise, type TVDenoised, type TVDenoiserOptions } from './tv-denoiser.js';
