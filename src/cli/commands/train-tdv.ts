import { z } from 'zod';
import { denoiseImage, describeNetwork, networkTrainer, VariationalNetwork } from '../../models/tdv/index.js';
import { denoisingOutcome, psnrEvaluator } from '../training/denoising.js';
import { runTrainingCommand, type TrainingCommand } from '../training/session.js';
import { commonSettings, type Given, newCommonSettings, type RunOptions } from '../training/settings.js';

const schema = commonSettings.extend({
  command: z.literal('train tdv'),
  /** Of 255. */
  sigma: z.number().positive(),
  features: z.int().positive(),
  macroBlocks: z.int().positive(),
  stages: z.int().positive(),
  nu: z.number().positive(),
  scheme: z.enum(['released', 'paper']),
});

type TdvSettings = z.infer<typeof schema>;

const nameOf = ({ macroBlocks, features }: TdvSettings): string => `TDV^${macroBlocks} with ${features} features`;

const command: TrainingCommand<TdvSettings, VariationalNetwork> = {
  name: 'train tdv',
  schema,
  settings: (given) => ({
    command: 'train tdv',
    ...newCommonSettings(given, { batch: 8, patch: 64, learningRate: 4e-4 }),
    sigma: given.sigma ?? 25,
    features: given.features ?? 32,
    macroBlocks: given.macroBlocks ?? 3,
    stages: given.stages ?? 10,
    nu: given.nu ?? 1,
    scheme: given.scheme ?? 'released',
  }),
  model: ({ channels, features, macroBlocks, stages, nu, scheme, sigma }) =>
    new VariationalNetwork({ channels, features, macroBlocks, steps: stages, nu, scheme, sigma: sigma / 255 }),
  describe: describeNetwork,
  headline: (settings, model) =>
    `${nameOf(settings)}, ${settings.stages} steps (${model.parameterCount} weights), noise ${settings.sigma} of 255`,
  evaluator: ({ sigma, seed }, images) =>
    psnrEvaluator(images, { sigma: sigma / 255, seed }, (model: VariationalNetwork, noisy) => denoiseImage(model, noisy)),
  trainer: ({ settings, model, source, common }) =>
    networkTrainer({
      ...common,
      model,
      source,
      batchSize: settings.batch,
      learningRate: settings.learningRate,
      seed: settings.seed,
    }),
  outcome: async ({ settings, model, folder, images, steps, finalPsnr }) => {
    const scalars = [`T = ${model.T.value.item().toPrecision(3)}`];
    if (model.lmbda !== null) scalars.push(`λ = ${model.lmbda.value.item().toPrecision(3)}`);
    return {
      title: 'Training of a denoiser with total deep variation',
      summary: `${nameOf(settings)} after ${steps} steps: mean PSNR of the last batches ${finalPsnr.toFixed(2)} dB, ${scalars.join(', ')}.`,
      ...(await denoisingOutcome({
        folder,
        denoise: (noisy) => denoiseImage(model, noisy),
        images,
        channels: settings.channels,
        sigma: settings.sigma / 255,
        seed: settings.seed,
        label: `TDV^${settings.macroBlocks}`,
      })),
    };
  },
};

/** `tautgrad train tdv` */
export async function trainTdv(options: Given<TdvSettings> & RunOptions): Promise<void> {
  await runTrainingCommand(command, options);
}
