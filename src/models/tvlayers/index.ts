export { type PatchTrainingOptions, patchTrainer } from '../patch-trainer.js';
export {
  applyDenoiser,
  type DenoisingOptions,
  denoisingTrainer,
  initialLambdas,
  lambdas,
  type Score,
  scoreDenoiser,
} from './denoising.js';
export { DnCNN, type DnCNNOptions, DnCNNTV, type DnCNNTVOptions } from './dncnn-tv.js';
export { type Denoiser, describeDenoiser, loadDenoiser } from './load-denoiser.js';
export { applyInTiles, type TileOptions } from './tiles.js';
export { bestLambda, denoiseWithTV, lambdaForNoise, type TVDenoised, type TVDenoiserOptions } from './tv-denoiser.js';
