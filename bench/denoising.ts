/**
 * Gaussian denoising of real images: anisotropic TV with the best single lambda against a DnCNN_TV trained for a few minutes.
 *
 *   npm run bench -- denoising --test DIR [--train DIR --minutes 15] [--sigma 25] [--out runs/bench-denoising]
 *
 * Without --train only TV is scored. Prints mean PSNR and SSIM over the test folder; noise has a fixed seed per image and is not clipped.
 */
import { parseArgs } from 'node:util';
import { data, models, seed, tensor, tidy, tv } from 'tautgrad';

const { values: args } = parseArgs({
  options: {
    test: { type: 'string' },
    train: { type: 'string' },
    minutes: { type: 'string', default: '15' },
    sigma: { type: 'string', default: '25' },
    out: { type: 'string', default: 'runs/bench-denoising' },
    features: { type: 'string', default: '32' },
    depth: { type: 'string', default: '8' },
    patch: { type: 'string', default: '44' },
  },
});
if (args.test === undefined) throw new TypeError('Expected a folder of test images for --test but received nothing');
const sigma = Number(args.sigma) / 255;

const images: { name: string; image: data.Image }[] = [];
for (const path of await data.listImages(args.test)) images.push({ name: path, image: data.toChannels(await data.readImage(path), 1) });

interface Mean {
  noisyPsnr: number;
  psnr: number;
  ssim: number;
}

function score(denoise: (noisy: data.Image) => data.Image): Mean {
  const scores = [...models.tvlayers.scoreDenoiser(images, sigma, denoise)];
  const mean = (key: keyof Mean): number => scores.reduce((s, row) => s + row[key], 0) / scores.length;
  return { noisyPsnr: mean('noisyPsnr'), psnr: mean('psnr'), ssim: mean('ssim') };
}

const denoiseTv =
  (lambda: number) =>
  ({ data: samples, channels, height, width }: data.Image): data.Image =>
    tidy(() => {
      const y = tv.prox2d(tensor(samples, { shape: [channels, height, width] }), lambda, { tolerance: 1e-5 });
      return data.makeImage(
        channels,
        height,
        width,
        (y.toTypedArray() as Float32Array).map((v) => Math.min(1, Math.max(0, v))),
      );
    });

/** Golden-section search: the mean PSNR has one peak in lambda. */
function bestLambda(): { lambda: number; result: Mean } {
  const ratio = (Math.sqrt(5) - 1) / 2;
  let [low, high] = [0.3 * sigma, 1.5 * sigma];
  const at = (lambda: number) => ({ lambda, result: score(denoiseTv(lambda)) });
  let [a, b] = [at(high - ratio * (high - low)), at(low + ratio * (high - low))];
  while (high - low > 0.01 * sigma) {
    if (a.result.psnr > b.result.psnr) {
      high = b.lambda;
      b = a;
      a = at(high - ratio * (high - low));
    } else {
      low = a.lambda;
      a = b;
      b = at(low + ratio * (high - low));
    }
  }
  return a.result.psnr > b.result.psnr ? a : b;
}

const show = (label: string, { psnr, ssim }: Mean): void => console.log(`${label}: PSNR ${psnr.toFixed(3)} dB, SSIM ${ssim.toFixed(4)}`);

console.log(`${images.length} images of ${args.test}, sigma ${args.sigma}`);
const best = bestLambda();
console.log(`noisy: PSNR ${best.result.noisyPsnr.toFixed(3)} dB`);
show(`anisotropic TV, best lambda ${best.lambda.toFixed(4)} (${(best.lambda / sigma).toFixed(3)} sigma)`, best.result);

if (args.train !== undefined) {
  seed(1);
  const options = { channels: 1, features: Number(args.features), depth: Number(args.depth) };
  const model = new models.tvlayers.DnCNNTV(options);
  const source = await data.folderSource(args.train, { patchSize: Number(args.patch), seed: 1 });
  const trainer = models.tvlayers.denoisingTrainer({
    model,
    description: { name: 'tvlayers.DnCNNTV', options },
    source,
    sigma,
    batchSize: 16,
    learningRate: 2e-3,
    steps: 10_000_000,
    budgetSeconds: 60 * Number(args.minutes),
    folder: args.out,
  });
  let shown = 0;
  trainer.on('step', ({ step, metrics, samplesPerSecond }, left) => {
    if (performance.now() - shown < 20_000) return;
    shown = performance.now();
    console.log(
      `step ${step}: batch PSNR ${metrics.psnr?.toFixed(2)} dB, ${samplesPerSecond.toFixed(0)} patches/s, ${left.toFixed(0)} s left`,
    );
  });
  const { steps } = await trainer.run();
  const result = score((noisy) => models.tvlayers.applyDenoiser(model, noisy));
  show(
    `DnCNN_TV (${options.depth} layers of ${options.features}, ${model.parameterCount} parameters, ${steps} steps in ${args.minutes} min)`,
    result,
  );
  console.log(`gain over TV: ${(result.psnr - best.result.psnr).toFixed(3)} dB; lambdas ${JSON.stringify(models.tvlayers.lambdas(model))}`);
}
