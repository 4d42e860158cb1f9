import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import {
  addGaussianNoise,
  type BatchSource,
  deadLeaves,
  deriveSeed,
  FileError,
  type Image,
  listImages,
  memorySource,
  prefetchDeadLeaves,
  quantise,
  readImage,
  toChannels,
  writeImage,
} from '../../data/index.js';
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
import { seed as seedGenerator } from '../../tensor/index.js';
import { writeCheckpoint } from '../../train/index.js';
import { exitCode } from '../failure.js';
import { interruptible } from '../interrupt.js';
import { formatNumber, formatTable, Output } from '../output.js';
import { meanScore, middle, scoredCaption, zoomOf } from '../training/denoising.js';
import { MODEL_FILE, runTrainer, writeRunReport } from '../training/session.js';
import { writeSettings } from '../training/settings.js';

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
const heldOutCount = 8;

/** What the run learns from and is measured on. */
interface Material {
  channels: 1 | 3;
  source: BatchSource & { close?(): Promise<void> };
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
    const { sigma: noise, seconds } = options;
    await writeSettings(folder, { command: 'quickstart', sigma: noise, seconds, seed, channels, ...network });
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
    const modelPath = join(folder, MODEL_FILE);
    await writeCheckpoint(modelPath, { model: { ...describeDenoiser(model), state: model.stateDict() }, training: null });

    output.note(`Evaluating on ${heldOut.length} held-out pictures`);
    const pairs = tuning.map((clean, i) => ({ clean, noisy: addGaussianNoise(clean, sigma, deriveSeed(seed, 5, i)) }));
    const { lambda } = bestLambda(pairs, { limits: [0.2 * sigma, 2 * sigma] });
    const byTV = (noisy: Image): Image => denoiseWithTV(noisy, { lambda }).image;
    const byNetwork = (noisy: Image): Image => applyDenoiser(model, noisy);
    const tv = meanScore([...scoreDenoiser(heldOut, sigma, byTV, seed)]);
    const net = meanScore([...scoreDenoiser(heldOut, sigma, byNetwork, seed)]);

    const clean = quantise(shown.image);
    const noisy = addGaussianNoise(clean, sigma, deriveSeed(seed, 6));
    const images = [
      { name: 'clean', image: clean, caption: `clean: ${shown.name}` },
      { name: 'noisy', image: noisy, caption: scoredCaption('noisy', noisy, clean) },
      ...[
        { name: 'tv', label: 'TV alone', image: byTV(noisy) },
        { name: 'network', label: 'network', image: byNetwork(noisy) },
      ].map(({ name, label, image }) => ({ name, image, caption: scoredCaption(label, image, clean) })),
    ];
    for (const { name, image } of images) await writeImage(join(folder, `${name}.png`), image);
    const reportPath = await writeRunReport(folder, {
      title: 'A denoiser with total-variation layers',
      summary:
        `DnCNN_TV, trained for ${formatNumber(options.seconds)} seconds (${training.steps} steps) to remove Gaussian noise of ` +
        `${options.sigma} of 255, against total variation alone.`,
      table: {
        caption: `Means over ${heldOut.length} held-out pictures; SSIM with the 11×11 Gaussian window; λ of TV alone is the best one on training pictures.`,
        columns: ['method', 'PSNR (dB)', 'SSIM'],
        rows: resultRows(tv, net, lambda),
        digits: [0, 2, 4],
      },
      pictures: images.map(({ name, caption }) => ({ name, file: `${name}.png`, caption })),
      zoom: zoomOf(clean),
      facts: { data: source.description, steps: training.steps, weights: model.parameterCount },
    });

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
    await source.close?.();
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
  const given = image === undefined ? null : { name: basename(image), image: middle(await readImage(image)) };
  const { patchSize } = network;
  if (data === undefined) {
    const channels = given?.image.channels === 1 ? 1 : 3;
    const picture = (label: number, i: number): Image =>
      deadLeaves({ height: 128, width: 128, channels, seed: deriveSeed(seed, label, i) });
    const heldOut = Array.from({ length: heldOutCount }, (_, i) => ({ name: `dead leaves ${i + 1}`, image: picture(7, i) }));
    const own = { name: 'dead leaves', image: deadLeaves({ height: 240, width: 320, channels, seed: deriveSeed(seed, 8) }) };
    return {
      channels,
      source: await prefetchDeadLeaves({ channels, patchSize, seed }),
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
  const heldOut = converted.filter((_, i) => isHeldOut(i)).map((i) => ({ name: i.name, image: middle(i.image) }));
  const training = converted.filter((_, i) => !isHeldOut(i)).map((i) => i.image);
  return {
    channels,
    source: memorySource(training, { channels, patchSize, seed }, `${training.length} images of ${data}`),
    heldOut,
    tuning: training.slice(0, heldOutCount).map(middle),
    shown: given === null ? heldOut[0]! : { name: given.name, image: toChannels(given.image, channels) },
  };
}
