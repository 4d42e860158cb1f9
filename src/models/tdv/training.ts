/** Training a variational network to denoise (specification §5): Adam on the weights, T and λ, with their constraints. */
import type { TrainingBatch } from '../../data/index.js';
import { type ParameterGroup, projections } from '../../optim/index.js';
import type { Tensor } from '../../tensor/index.js';
import type { Trainer } from '../../train/index.js';
import { type DenoisingOptions, denoisingTrainer } from '../tvlayers/denoising.js';
import { describeNetwork } from './load.js';
import type { VariationalNetwork } from './network.js';
import { projectK } from './regularizer.js';

/** The largest T and λ. */
const MOST = 1000;

/**
 * K keeps filters of mean zero in the unit ball, T and λ stay in [0, 1000]. These two learn at a tenth of the rate: T is near 0.02, and
 * Adam moves every weight by about the learning rate, so that at 0.003 one noisy batch takes T to 0, where no gradient reaches the rest.
 */
export const constraints: readonly ParameterGroup[] = [
  { match: /^R\.K1\.weight$/, project: projectK },
  { match: /^(T|lmbda)$/, learningRateScale: 0.1, project: projections.clamp(0, MOST) },
];

export type NetworkTrainingOptions = Omit<DenoisingOptions, 'model' | 'description' | 'groups' | 'metrics' | 'sigma'> & {
  model: VariationalNetwork;
};

/**
 * A trainer that minimises the mean squared error of denoised patches, with noise of the network's level and gradient checkpointing in
 * every step of the scheme. The log's metrics are `psnr` of the batch, `T`, and `lambda` where it is learned. Learning rate 4e-4 unless
 * given.
 */
export function networkTrainer({ model, ...options }: NetworkTrainingOptions): Trainer<TrainingBatch, Tensor> {
  return denoisingTrainer({
    learningRate: 4e-4,
    ...options,
    model,
    sigma: model.options.sigma,
    description: describeNetwork(model),
    groups: constraints,
    metrics: () => ({ T: model.T.value.item(), ...(model.lmbda && { lambda: model.lmbda.value.item() }) }),
  });
}
