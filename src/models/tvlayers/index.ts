export { applyDenoiser, type DenoisingOptions, denoisingTrainer, lambdas, type Score, scoreDenoiser } from './denoising.js';
export { DnCNN, type DnCNNOptions, DnCNNTV, type DnCNNTVOptions } from './dncnn-tv.js';
