/**
 * The calibration behind `lambdaForNoise`: for each noise level the lambda of greatest mean PSNR over dead-leaves pictures, and the power
 * law c sigma^p through them (least squares on logarithms).
 *
 *   npm run bench -- auto-lambda [--pictures 16] [--test DIR]
 *
 * With --test it also prints, for the images of a folder, the mean PSNR of the best single lambda and of the automatic one.
 */
import { parseArgs } from 'node:util';
import { data, metrics, models } from 'tautgrad';

const { bestLambda, denoiseWithTV } = models.tvlayers;
const { values: args } = parseArgs({ options: { pictures: { type: 'string', default: '16' }, test: { type: 'string' } } });
const levels = [5, 10, 15, 25, 50];

const noisyPairs = (images: readonly data.Image[], level: number) =>
  images.map((clean, i) => ({ clean, noisy: data.addGaussianNoise(clean, level / 255, i) }));

const leaves = Array.from({ length: Number(args.pictures) }, (_, i) => data.deadLeaves({ height: 128, width: 128, seed: 1000 + i }));
for (const isotropic of [false, true]) {
  const points = levels.map((level) => {
    const { lambda, psnr } = bestLambda(noisyPairs(leaves, level), { isotropic, limits: [0.002, 0.6] });
    console.log(`${isotropic ? 'isotropic' : 'anisotropic'}, sigma ${level}: lambda ${lambda.toFixed(4)}, PSNR ${psnr.toFixed(2)} dB`);
    return [Math.log(level / 255), Math.log(lambda)] as const;
  });
  const mean = (k: 0 | 1) => points.reduce((sum, point) => sum + point[k], 0) / points.length;
  const [mx, my] = [mean(0), mean(1)];
  const power = points.reduce((s, [x, y]) => s + (x - mx) * (y - my), 0) / points.reduce((s, [x]) => s + (x - mx) ** 2, 0);
  console.log(`  lambda = ${Math.exp(my - power * mx).toFixed(3)} sigma^${power.toFixed(3)}`);
}

if (args.test !== undefined) {
  const images: data.Image[] = [];
  for (const path of await data.listImages(args.test)) images.push(await data.readImage(path));
  for (const isotropic of [false, true]) {
    for (const level of levels) {
      const pairs = noisyPairs(images, level);
      const best = bestLambda(pairs, { isotropic, limits: [0.002, 0.6] });
      const automatic = pairs.map(({ clean, noisy }) => metrics.psnr(denoiseWithTV(noisy, { isotropic }).image, clean));
      const mean = automatic.reduce((sum, v) => sum + v, 0) / automatic.length;
      const kind = isotropic ? 'isotropic' : 'anisotropic';
      console.log(
        `${kind}, sigma ${level}: best lambda ${best.lambda.toFixed(4)}: ${best.psnr.toFixed(2)} dB; automatic: ${mean.toFixed(2)} dB`,
      );
    }
  }
}
