export { type DenoisingOptions, type Score, applyDenoiser, denoisingTrainer, lambdas, scoreDenoiser } from './denoising.js';
export { DnCNN, type DnCNNOptions, DnCNNTV, type DnCNNTVOptions } from './dncnn-tv.js';
export { type Denoiser, describeDenoiser, loadDenoiser } from './load-denoiser.js';
export { type TVDenoised, type TVDenoiserOptions, bestLambda, denoiseWithTV, lambdaForNoise } from './tv-denoiser.js';
