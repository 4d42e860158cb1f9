export { DnCNN, type DnCNNOptions, DnCNNTV, type DnCNNTVOptions } from './dncnn-tv.js';
export { type DenoisingOptions, type Score, applyDenoiser, denoisingTrainer, lambdas, scoreDenoiser } from './denoising.js';
