import { z } from 'zod';
import { applyDenoiser, DnCNNTV, denoisingTrainer, describeDenoiser, initialLambdas } from '../../models/tvlayers/index.js';
import { denoisingOutcome, psnrEvaluator } from '../training/denoising.js';
import { runTrainingCommand, type TrainingCommand } from '../training/session.js';
import { commonSettings, type Given, newCommonSettings, type RunOptions } from '../training/settings.js';

const schema = commonSettings.extend({
  command: z.literal('train denoise'),
  /** Of 255. */
  sigma: z.number().positive(),
  depth: z.int().min(2),
  features: z.int().positive(),
});

type DenoiseSettings = z.infer<typeof schema>;

const command: TrainingCommand<DenoiseSettings, DnCNNTV> = {
  name: 'train denoise',
  schema,
  settings: (given) => ({
    command: 'train denoise',
    ...newCommonSettings(given, { batch: 16, patch: 40, learningRate: 1e-3 }),
    sigma: given.sigma ?? 25,
    depth: given.depth ?? 8,
    features: given.features ?? 32,
  }),
  model: ({ channels, depth, features, sigma }) => new DnCNNTV({ channels, depth, features, ...initialLambdas(sigma / 255) }),
  describe: describeDenoiser,
  headline: ({ depth, features, sigma }, model) =>
    `DnCNN_TV with ${depth} layers of ${features} channels (${model.parameterCount} weights), noise ${sigma} of 255`,
  evaluator: ({ sigma, seed }, images) => psnrEvaluator(images, { sigma: sigma / 255, seed }, applyDenoiser),
  trainer: ({ settings, model, source, common }) =>
    denoisingTrainer({
      ...common,
      model,
      description: describeDenoiser(model),
      source,
      sigma: settings.sigma / 255,
      batchSize: settings.batch,
      learningRate: settings.learningRate,
      seed: settings.seed,
    }),
  outcome: async ({ settings, model, folder, images, steps, finalPsnr }) => ({
    title: 'Training of a denoiser with total-variation layers',
    summary: `DnCNN_TV after ${steps} steps: mean PSNR of the last batches ${finalPsnr.toFixed(2)} dB.`,
    ...(await denoisingOutcome({
      folder,
      denoise: (noisy) => applyDenoiser(model, noisy),
      images,
      channels: settings.channels,
      sigma: settings.sigma / 255,
      seed: settings.seed,
      label: 'DnCNN_TV',
    })),
  }),
};

/** `tautgrad train denoise` */
export async function trainDenoise(options: Given<DenoiseSettings> & RunOptions): Promise<void> {
  await runTrainingCommand(command, options);
}
