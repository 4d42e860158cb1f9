import { join } from 'node:path';
import { z } from 'zod';
import { crop, deadLeaves, deriveSeed, type Image, writeImage } from '../../data/index.js';
import { psnr } from '../../metrics/index.js';
import {
  describeFlowNet,
  type FlowReference,
  flowTrainer,
  networkPsnr,
  predictImages,
  referenceImages,
  referenceOf,
  scoreFlow,
  summarise,
  TVFlowNet,
} from '../../models/tvflow/index.js';
import type { RunOutcome } from '../../report/index.js';
import { outsideScopes } from '../../tensor/index.js';
import { UsageError } from '../failure.js';
import { middle, type NamedImage, zoomOf } from '../training/denoising.js';
import { runTrainingCommand, type TrainingCommand } from '../training/session.js';
import { commonSettings, type Given, newCommonSettings, type RunOptions } from '../training/settings.js';

const schema = commonSettings.extend({
  command: z.literal('train tvflow'),
  activations: z.enum(['relu+softplus', 'relu', 'softplus']),
  boundary: z.enum(['natural', 'frame']),
  padding: z.enum(['zero', 'reflect']),
  init: z.enum(['he-uniform', 'orthogonal']),
  input: z.enum(['centered', 'plain']),
  normalizePhi: z.boolean(),
  timesPerImage: z.int().positive(),
  tvWeight: z.number().nonnegative(),
  initialWeight: z.number().nonnegative(),
});

type FlowSettings = z.infer<typeof schema>;

/** Side of the images of the paper: validation images are cut to it. */
const SIDE = 96;
/** Times of the pictures on the page, on the network's scale. */
const SHOWN = [0.1, 0.3, 1];

/** The middle square of the paper's size, or the whole of a smaller image. */
export function middleOf(image: Image, side: number): Image {
  const [height, width] = [Math.min(side, image.height), Math.min(side, image.width)];
  return crop(image, Math.floor((image.height - height) / 2), Math.floor((image.width - width) / 2), height, width);
}

/** The model-driven flows of the validation images. */
const referencesOf = (images: readonly NamedImage[], scale: number): FlowReference[] =>
  outsideScopes(() => images.map(({ name, image }) => referenceOf(name, middleOf(image, SIDE), scale)));

const command: TrainingCommand<FlowSettings, TVFlowNet> = {
  name: 'train tvflow',
  schema,
  settings: (given) => {
    const common = newCommonSettings({ ...given, clip: given.clip ?? 1 }, { batch: 2, patch: SIDE, learningRate: 3e-3 });
    const timesPerImage = given.timesPerImage ?? 1;
    if (common.batch % timesPerImage !== 0)
      throw new UsageError(`Expected a --batch that --times-per-image divides but received ${common.batch} and ${timesPerImage}`);
    return {
      command: 'train tvflow',
      ...common,
      activations: given.activations ?? 'relu+softplus',
      boundary: given.boundary ?? 'natural',
      padding: given.padding ?? 'zero',
      init: given.init ?? 'he-uniform',
      input: given.input ?? 'centered',
      normalizePhi: given.normalizePhi ?? false,
      timesPerImage,
      tvWeight: given.tvWeight ?? 1e-6,
      initialWeight: given.initialWeight ?? 10,
    };
  },
  model: ({ activations, boundary, padding, init, input, normalizePhi }) =>
    new TVFlowNet({ activations, phiBoundary: boundary, padding, init, centered: input === 'centered', normalizePhi }),
  describe: describeFlowNet,
  headline: ({ activations }, model) => `TVflowNET with ${activations.replace('+', ' and ')} (${model.parameterCount} weights)`,
  evaluator: (_settings, images) => {
    let references: FlowReference[] | undefined;
    return (model) => {
      references ??= referencesOf(images, model.options.scale);
      return references.reduce((sum, reference) => sum + networkPsnr(model, reference), 0) / references.length;
    };
  },
  trainer: ({ settings, model, source, common }) =>
    flowTrainer({
      ...common,
      model,
      source,
      batchSize: settings.batch,
      timesPerImage: settings.timesPerImage,
      learningRate: settings.learningRate,
      loss: { tvWeight: settings.tvWeight, initialWeight: settings.initialWeight },
      seed: settings.seed,
    }),
  outcome: async ({ settings, model, folder, images, steps }) => {
    const shown = images[0] ?? {
      name: 'dead leaves',
      image: deadLeaves({ height: 240, width: 320, channels: settings.channels, seed: deriveSeed(settings.seed, 8) }),
    };
    const { table, summary } = scoresOf(images, model);
    return {
      title: 'Training of a network for the total-variation flow',
      summary: `TVflowNET after ${steps} steps${summary}.`,
      table,
      ...(await picturesOf(middle(shown.image), model, folder)),
    };
  },
};

function scoresOf(images: readonly NamedImage[], model: TVFlowNet): { table: RunOutcome['table']; summary: string } {
  if (images.length === 0) return { table: null, summary: '' };
  const references = referencesOf(images, model.options.scale);
  const { mean } = summarise(references.map((reference) => scoreFlow(model, reference)));
  for (const { f, series } of references) {
    f.dispose();
    series.dispose();
  }
  return {
    table: {
      caption: `Against the model-driven flow at 50 times from 0 to 0.98: means over the middle ${SIDE}×${SIDE} pixels of ${images.length} validation image${images.length === 1 ? '' : 's'}; SSIM with 7×7 windows.`,
      columns: ['series', 'PSNR (dB)', 'SSIM'],
      rows: [
        ['u(t) = f', mean.identityPsnr, mean.identitySsim],
        ['TVflowNET', mean.psnr, mean.ssim],
      ],
      digits: [0, 2, 4],
    },
    summary: `: ${mean.psnr.toFixed(2)} dB from the model-driven flow on the validation images (doing nothing: ${mean.identityPsnr.toFixed(2)} dB)`,
  };
}

/** The picture, and the network's flow beside the model-driven one at some times. */
async function picturesOf(image: Image, model: TVFlowNet, folder: string): Promise<Pick<RunOutcome, 'pictures' | 'zoom'>> {
  const own = predictImages(model, image, SHOWN);
  const reference = referenceImages(image, model.options.scale, SHOWN);
  const items = [{ name: 'image', caption: 't = 0', image }];
  for (const [k, t] of SHOWN.entries()) {
    const range = `${psnr(own[k]!, reference[k]!).toFixed(2)} dB from the model-driven flow`;
    items.push({ name: `network-${t}`, caption: `TVflowNET, t = ${t}: ${range}`, image: own[k]! });
    items.push({ name: `flow-${t}`, caption: `model-driven, t = ${t}`, image: reference[k]! });
  }
  for (const { name, image: picture } of items) await writeImage(join(folder, `${name}.png`), picture);
  return { pictures: items.map(({ name, caption }) => ({ name, file: `${name}.png`, caption })), zoom: zoomOf(image) };
}

/** `tautgrad train tvflow` */
export async function trainTvflow(options: Given<FlowSettings> & RunOptions): Promise<void> {
  await runTrainingCommand(command, options);
}
