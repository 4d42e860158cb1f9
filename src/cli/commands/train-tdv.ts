import { resolve } from 'node:path';
import { z } from 'zod';
import {
  denoiseImage,
  describeNetwork,
  loadNetwork,
  networkTrainer,
  startFrom,
  superResolutionTrainer,
  VariationalNetwork,
} from '../../models/tdv/index.js';
import { UsageError } from '../failure.js';
import { denoisingOutcome, psnrEvaluator } from '../training/denoising.js';
import { runTrainingCommand, type TrainingCommand } from '../training/session.js';
import { commonSettings, type Given, newCommonSettings, type RunOptions } from '../training/settings.js';
import { enlargementEvaluator, enlargementOutcome } from '../training/super-resolution.js';

const schema = commonSettings.extend({
  command: z.literal('train tdv'),
  task: z.enum(['denoise', 'sr']).default('denoise'),
  /** The factor of super-resolution; null for denoising. */
  scale: z.int().min(2).nullable().default(null),
  /** Of 255. */
  sigma: z.number().positive(),
  features: z.int().positive(),
  macroBlocks: z.int().positive(),
  stages: z.int().positive(),
  nu: z.number().positive(),
  scheme: z.enum(['released', 'paper']),
  /** The network whose weights the run starts from. */
  from: z.string().nullable().default(null),
});

type TdvSettings = z.infer<typeof schema>;

const nameOf = ({ macroBlocks, features }: TdvSettings): string => `TDV^${macroBlocks} with ${features} features`;

async function settings(given: Given<TdvSettings>): Promise<TdvSettings> {
  const task = given.task ?? 'denoise';
  const scale = task === 'sr' ? (given.scale ?? 3) : null;
  for (const [option, value, wanted] of [
    ['--scale', given.scale, 'sr'],
    ['--sigma', given.sigma, 'denoise'],
  ] as const) {
    if (value !== undefined && task !== wanted) throw new UsageError(`Expected --task ${wanted} with ${option} but received ${task}`);
  }
  if (scale !== null && given.patch !== undefined && given.patch % scale !== 0)
    throw new UsageError(`Expected a multiple of ${scale} for --patch but received ${given.patch}`);
  const first = given.from === undefined ? null : await networkOptions(given.from, given);
  const patch = scale === null ? 64 : 64 - (64 % scale);
  return {
    command: 'train tdv',
    ...newCommonSettings(
      { ...given, ...(first && { channels: first.channels }) },
      { batch: 8, patch, learningRate: scale === null ? 4e-4 : first === null ? 1e-3 : 2e-4 },
    ),
    task,
    scale,
    sigma: given.sigma ?? (first ? first.sigma * 255 : 25),
    features: first?.features ?? given.features ?? 32,
    macroBlocks: first?.macroBlocks ?? given.macroBlocks ?? 3,
    stages: given.stages ?? first?.steps ?? 10,
    nu: first?.nu ?? given.nu ?? 1,
    scheme: first?.scheme ?? given.scheme ?? 'released',
    from: given.from === undefined ? null : resolve(given.from),
  };
}

/** What the file's network is; options that would contradict it are refused. */
async function networkOptions(path: string, given: Given<TdvSettings>): Promise<VariationalNetwork['options'] & { channels: 1 | 3 }> {
  for (const [option, value] of [
    ['--channels', given.channels],
    ['--features', given.features],
    ['--macro-blocks', given.macroBlocks],
    ['--nu', given.nu],
    ['--scheme', given.scheme],
  ] as const) {
    if (value !== undefined) throw new UsageError(`Expected no ${option} with --from: the network of ${path} decides it`);
  }
  const network = await loadNetwork(path);
  const { channels, ...options } = network.options;
  network.dispose();
  if (channels !== 1 && channels !== 3) throw new UsageError(`Expected a network for 1 or 3 channels for --from but received ${channels}`);
  return { ...options, channels };
}

const command: TrainingCommand<TdvSettings, VariationalNetwork> = {
  name: 'train tdv',
  schema,
  settings,
  model: async ({ channels, features, macroBlocks, stages, nu, scheme, sigma, scale, from }, resumed) => {
    const model = new VariationalNetwork({
      channels,
      features,
      macroBlocks,
      steps: stages,
      nu,
      scheme,
      sigma: sigma / 255,
      scale: scale ?? 1,
    });
    if (from !== null && !resumed) {
      const first = await loadNetwork(from);
      startFrom(model, first);
      first.dispose();
    }
    return model;
  },
  describe: describeNetwork,
  headline: (settings, model) =>
    `${nameOf(settings)}, ${settings.stages} steps (${model.parameterCount} weights), ${
      settings.scale === null ? `noise ${settings.sigma} of 255` : `super-resolution by ${settings.scale}`
    }`,
  evaluator: ({ sigma, seed, scale }, images) =>
    scale === null
      ? psnrEvaluator(images, { sigma: sigma / 255, seed }, (model: VariationalNetwork, noisy) => denoiseImage(model, noisy))
      : enlargementEvaluator(images, scale),
  trainer: ({ settings, model, source, common }) => {
    const options = { ...common, model, source, batchSize: settings.batch, learningRate: settings.learningRate, seed: settings.seed };
    return settings.scale === null ? networkTrainer(options) : superResolutionTrainer(options);
  },
  outcome: async ({ settings, model, folder, images, steps, finalPsnr }) => {
    const { scale, macroBlocks, channels, sigma, seed } = settings;
    const scalars = [`T = ${model.T.value.item().toPrecision(3)}`];
    if (model.lmbda !== null) scalars.push(`λ = ${model.lmbda.value.item().toPrecision(3)}`);
    const label = `TDV^${macroBlocks}`;
    return {
      title:
        scale === null ? 'Training of a denoiser with total deep variation' : `Training of total deep variation to enlarge by ${scale}`,
      summary: `${nameOf(settings)} after ${steps} steps: mean PSNR of the last batches ${finalPsnr.toFixed(2)} dB, ${scalars.join(', ')}.`,
      ...(scale === null
        ? await denoisingOutcome({
            folder,
            denoise: (noisy) => denoiseImage(model, noisy),
            images,
            channels,
            sigma: sigma / 255,
            seed,
            label,
          })
        : await enlargementOutcome({ folder, model, images, channels, scale, seed, label })),
    };
  },
};

/** `tautgrad train tdv` */
export async function trainTdv(options: Given<TdvSettings> & RunOptions): Promise<void> {
  await runTrainingCommand(command, options);
}
