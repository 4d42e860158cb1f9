import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import {
  addGaussianNoise,
  crop,
  deadLeaves,
  deadLeavesSource,
  deriveSeed,
  FileError,
  type Image,
  listImages,
  memorySource,
  type PatchSource,
  quantise,
  readImage,
  toChannels,
  writeImage,
} from '../../data/index.js';
import { psnr, ssim } from '../../metrics/index.js';
import {
  applyDenoiser,
  bestLambda,
  DnCNNTV,
  denoiseWithTV,
  denoisingTrainer,
  describeDenoiser,
  initialLambdas,
  type Score,
  scoreDenoiser,
} from '../../models/tvlayers/index.js';
import { type Report, writeReport } from '../../report/index.js';
import { seed as seedGenerator } from '../../tensor/index.js';
import { type TrainingResult, writeCheckpoint } from '../../train/index.js';
import { exitCode } from '../failure.js';
import { interruptible } from '../interrupt.js';
import { formatNumber, formatTable, Output } from '../output.js';
import { reportFooter, trainingCharts } from '../training-report.js';
import { meanScore } from './eval-denoise.js';
import { runTrainer } from './train-denoise.js';

export interface QuickstartOptions {
  data?: string;
  image?: string;
  sigma: number;
  seconds: number;
  out: string;
  seed: number;
  json?: boolean;
}

/** Small enough to learn something in a minute on two cores. */
const network = { depth: 6, features: 32, batchSize: 4, patchSize: 40, learningRate: 3e-3 };
/** Held-out pictures, and the side to which large ones are cut. */
const heldOutCount = 8;
const maxSide = 320;

/** What the run learns from and is measured on. */
interface Material {
  channels: 1 | 3;
  source: PatchSource;
  /** Pictures that training never sees. */
  heldOut: { name: string; image: Image }[];
  /** Pictures of the training data, to choose the lambda of total variation alone. */
  tuning: Image[];
  /** The picture of the comparison. */
  shown: { name: string; image: Image };
}

/** `tautgrad quickstart`: what `npm start` runs. */
export async function quickstart(options: QuickstartOptions): Promise<void> {
  const { out: folder, seed } = options;
  const sigma = options.sigma / 255;
  const output = new Output(options);
  const { channels, source, heldOut, tuning, shown } = await material(options);
  await mkdir(folder, { recursive: true }).catch((error: unknown) => {
    throw FileError.fromSystem(folder, 'write', error);
  });

  seedGenerator(seed);
  const model = new DnCNNTV({ channels, depth: network.depth, features: network.features, ...initialLambdas(sigma) });
  try {
    output.note(
      `Training DnCNN_TV (${network.depth} layers, ${model.parameterCount} weights, 2 TV layers) for ${formatNumber(options.seconds)} s ` +
        `to remove noise of ${options.sigma} of 255; data: ${source.description}`,
    );
    const training = await interruptible(
      (signal) =>
        runTrainer(
          denoisingTrainer({
            model,
            description: describeDenoiser(model),
            source,
            sigma,
            batchSize: network.batchSize,
            learningRate: network.learningRate,
            seed,
            steps: Number.MAX_SAFE_INTEGER,
            budgetSeconds: options.seconds,
            folder,
            signal,
          }),
        ),
      () => output.note('\nStopping after this step; press Ctrl-C again to stop at once.'),
    );
    if (training.aborted) {
      process.exitCode = exitCode.interrupted;
      const text = `Stopped at step ${training.steps}; the state is in ${training.checkpoint}. Run quickstart again to start over.`;
      output.result({ folder, aborted: true, steps: training.steps, checkpoint: training.checkpoint }, text);
      return;
    }
    const modelPath = join(folder, 'model.safetensors');
    await writeCheckpoint(modelPath, { model: { ...describeDenoiser(model), state: model.stateDict() }, training: null });

    output.note(`Evaluating on ${heldOut.length} held-out pictures`);
    const pairs = tuning.map((clean, i) => ({ clean, noisy: addGaussianNoise(clean, sigma, deriveSeed(seed, 5, i)) }));
    const { lambda } = bestLambda(pairs, { limits: [0.2 * sigma, 2 * sigma] });
    const byTV = (noisy: Image): Image => denoiseWithTV(noisy, { lambda }).image;
    const byNetwork = (noisy: Image): Image => applyDenoiser(model, noisy);
    const tv = meanScore([...scoreDenoiser(heldOut, sigma, byTV, seed)]);
    const net = meanScore([...scoreDenoiser(heldOut, sigma, byNetwork, seed)]);

    const noisy = addGaussianNoise(shown.image, sigma, deriveSeed(seed, 6));
    const pictures = { clean: shown.image, noisy, tv: byTV(noisy), network: byNetwork(noisy) };
    for (const [name, image] of Object.entries(pictures)) await writeImage(join(folder, `${name}.png`), image);
    const reportPath = join(folder, 'report.html');
    await writeReport(
      reportPath,
      makeReport(options, { source, shown, pictures, training, lambda, tv, net, heldOut: heldOut.length, weights: model.parameterCount }),
    );

    output.result(
      {
        folder,
        aborted: false,
        steps: training.steps,
        lambda,
        noisy: { psnr: tv.noisyPsnr, ssim: tv.noisySsim },
        tv: { psnr: tv.psnr, ssim: tv.ssim },
        network: { psnr: net.psnr, ssim: net.ssim },
        model: modelPath,
        report: reportPath,
      },
      `\n${formatTable([['', 'PSNR (dB)', 'SSIM'], ...resultRows(tv, net, lambda).map(([name, p, s]) => [name, p.toFixed(2), s.toFixed(4)])])}\n\n` +
        `Means over ${heldOut.length} held-out pictures. Network: ${modelPath}\nReport: ${reportPath}`,
    );
  } finally {
    model.dispose();
  }
}

type Mean = Omit<Score, 'name'>;

function resultRows(tv: Mean, net: Mean, lambda: number): [string, number, number][] {
  return [
    ['noisy', tv.noisyPsnr, tv.noisySsim],
    [`TV alone, λ = ${formatNumber(lambda, 2)}`, tv.psnr, tv.ssim],
    ['network with TV layers', net.psnr, net.ssim],
  ];
}

async function material({ data, image, seed }: QuickstartOptions): Promise<Material> {
  const given = image === undefined ? null : { name: basename(image), image: centre(await readImage(image)) };
  const { patchSize } = network;
  if (data === undefined) {
    const channels = given?.image.channels === 1 ? 1 : 3;
    const picture = (label: number, i: number): Image =>
      deadLeaves({ height: 128, width: 128, channels, seed: deriveSeed(seed, label, i) });
    const heldOut = Array.from({ length: heldOutCount }, (_, i) => ({ name: `dead leaves ${i + 1}`, image: picture(7, i) }));
    const own = { name: 'dead leaves', image: deadLeaves({ height: 240, width: 320, channels, seed: deriveSeed(seed, 8) }) };
    return {
      channels,
      source: deadLeavesSource({ channels, patchSize, seed }),
      heldOut,
      tuning: Array.from({ length: heldOutCount }, (_, i) => picture(9, i)),
      shown: given ?? own,
    };
  }
  const paths = await listImages(data);
  if (paths.length < 2) {
    throw new FileError(data, `Expected at least 2 images in the folder ${data}, one to learn from and one to measure on, but found 1`);
  }
  const images = await Promise.all(paths.map(async (path) => ({ name: basename(path), image: await readImage(path) })));
  const small = images.findIndex((i) => Math.min(i.image.height, i.image.width) < patchSize);
  if (small >= 0) {
    throw new FileError(paths[small]!, `Expected images of at least ${patchSize}x${patchSize} pixels but ${paths[small]} is smaller`);
  }
  // Gray pictures make a gray network; one colour picture makes it a colour network.
  const channels = [...images, ...(given ? [given] : [])].some((i) => i.image.channels === 3) ? 3 : 1;
  const converted = images.map((i) => ({ name: i.name, image: toChannels(i.image, channels) }));
  // Every k-th image is held out, so that a folder sorted by subject loses a little of each.
  const count = Math.min(heldOutCount, Math.max(1, Math.floor(converted.length / 5)));
  const every = Math.floor(converted.length / count);
  const isHeldOut = (i: number): boolean => i % every === every - 1 && Math.floor(i / every) < count;
  const heldOut = converted.filter((_, i) => isHeldOut(i)).map((i) => ({ name: i.name, image: centre(i.image) }));
  const training = converted.filter((_, i) => !isHeldOut(i)).map((i) => i.image);
  return {
    channels,
    source: memorySource(training, { channels, patchSize, seed }, `${training.length} images of ${data}`),
    heldOut,
    tuning: training.slice(0, heldOutCount).map(centre),
    shown: given === null ? heldOut[0]! : { name: given.name, image: toChannels(given.image, channels) },
  };
}

/** The middle of a large picture: a minute's run should not wait for megapixels. */
function centre(image: Image): Image {
  const height = Math.min(image.height, maxSide);
  const width = Math.min(image.width, maxSide);
  return crop(image, Math.floor((image.height - height) / 2), Math.floor((image.width - width) / 2), height, width);
}

interface Outcome {
  source: PatchSource;
  shown: { name: string; image: Image };
  pictures: Record<'clean' | 'noisy' | 'tv' | 'network', Image>;
  training: TrainingResult;
  lambda: number;
  tv: Mean;
  net: Mean;
  heldOut: number;
  weights: number;
}

function makeReport(options: QuickstartOptions, outcome: Outcome): Report {
  const { source, shown, pictures, training, lambda, tv, net, heldOut, weights } = outcome;
  const { height, width } = shown.image;
  const caption = (name: string, image: Image): string =>
    `${name}: ${psnr(quantise(image), shown.image).toFixed(2)} dB` +
    (Math.min(height, width) >= 11 ? `, SSIM ${ssim(quantise(image), shown.image).toFixed(3)}` : '');
  const zoom = Math.min(64, height, width);
  return {
    title: 'A denoiser with total-variation layers',
    summary:
      `DnCNN_TV, trained for ${formatNumber(options.seconds)} seconds (${training.steps} steps) to remove Gaussian noise of ` +
      `${options.sigma} of 255, against total variation alone.`,
    sections: [
      {
        heading: 'Result',
        blocks: [
          {
            kind: 'table',
            caption: `Means over ${heldOut} held-out pictures; SSIM with the 11×11 Gaussian window; λ of TV alone is the best one on training pictures.`,
            columns: ['Method', 'PSNR (dB)', 'SSIM'],
            rows: resultRows(tv, net, lambda),
            digits: [0, 2, 4],
          },
          {
            kind: 'pictures',
            zoom: { top: (height - zoom) / 2, left: (width - zoom) / 2, size: zoom },
            items: [
              { image: pictures.clean, caption: `clean: ${shown.name}` },
              { image: pictures.noisy, caption: caption('noisy', pictures.noisy) },
              { image: pictures.tv, caption: caption('TV alone', pictures.tv) },
              { image: pictures.network, caption: caption('network', pictures.network) },
            ],
          },
        ],
      },
      { heading: 'Training', blocks: trainingCharts(training.history) },
      {
        heading: 'Settings',
        blocks: [
          {
            kind: 'settings',
            entries: [
              ['data', source.description],
              ['noise (of 255)', options.sigma],
              ['steps', training.steps],
              ['training time (s)', options.seconds],
              ['convolution layers', network.depth],
              ['channels inside', network.features],
              ['weights', weights],
              ['patches in a step', network.batchSize],
              ['patch side (pixels)', network.patchSize],
              ['learning rate', network.learningRate],
              ['seed', options.seed],
            ],
          },
        ],
      },
    ],
    footer: reportFooter(),
  };
}
