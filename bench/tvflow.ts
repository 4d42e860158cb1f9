/**
 * TVflowNET beside the model-driven flow and the joint space-time optimisation, and the cost of its training.
 *
 *   npm run bench -- tvflow [--case predict,joint,step --data DIR --size 96 --repeat 7 --batch 8 --images 8 --profile]
 *
 * `predict`: seconds per image for the whole series of 50 times and for one late time, network and model-driven flow (implicit Euler, 49 ROF
 * problems with a relative gap of 1e-4, and 1e-6) in turns, one image at a time and `--images` of them at once. `joint`: joint optimisation
 * (2000 steps) of `--images` images, the middle parts of those in `--data` (default: dead leaves), against the model-driven flow at the same times. `step`: one training step, forward-mode derivative, loss, reverse mode and Adam; `--profile` prints where its time goes by
 * primitive. The times do not depend on the weights: they are random. Medians. The paper's figures (Table 2: seconds per image of 96 × 96 at
 * all 50 times; Matlab on a CPU, an NVIDIA Quadro P6000) are printed beside, measured by its authors on their machines.
 */
import { parseArgs } from 'node:util';
import { data, devices, Generator, models, nn, ops, optim, seed, Tensor, tidy } from 'tautgrad';

const { values: args } = parseArgs({
  options: {
    case: { type: 'string', default: 'predict,step' },
    size: { type: 'string', default: '96' },
    repeat: { type: 'string', default: '7' },
    data: { type: 'string' },
    batch: { type: 'string', default: '8' },
    images: { type: 'string', default: '8' },
    profile: { type: 'boolean', default: false },
  },
});
const { batchLoss, predictSeries, referenceSeries, scoreSeries, seriesTimes, solveSpaceTime, TVFlowNet } = models.tvflow;
const paper = { 'model-driven, CPU': 3.34, 'model-driven, GPU': 2.491, 'joint, GPU': 17.98, 'TVflowNET, GPU': 0.138 };
const size = Number(args.size);
const repeat = Number(args.repeat);
const median = (list: readonly number[]): number => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)] ?? Number.NaN;
const seconds = (body: () => void): number => {
  const began = performance.now();
  tidy(body);
  return (performance.now() - began) / 1000;
};
const files = args.data === undefined ? null : await Promise.all((await data.listImages(args.data)).map((path) => data.readImage(path)));
/** Middle parts of images, or dead-leaves pictures, with values 0 … 5: [count, size, size]. */
const pictures = (count: number): Tensor => {
  const all = Array.from({ length: count }, (_, k) => {
    const image = files?.[k % files.length];
    if (image === undefined) return data.deadLeaves({ height: size, width: size, seed: k }).data;
    const [top, left] = [(image.height - size) >> 1, (image.width - size) >> 1];
    return data.toChannels(data.crop(image, top, left, size, size), 1).data;
  });
  return ops.mul(Tensor.from(Float32Array.from(all.flatMap((d) => [...d])), [count, size, size]), 5);
};

/** Medians of contestants that take turns; the first round warms up. */
function race(contestants: Readonly<Record<string, () => void>>): Record<string, number> {
  const times: Record<string, number[]> = {};
  for (let round = 0; round <= repeat; round++) {
    for (const [name, body] of Object.entries(contestants)) {
      const time = seconds(body);
      if (round > 0) times[name] = [...(times[name] ?? []), time];
    }
  }
  return Object.fromEntries(Object.entries(times).map(([name, list]) => [name, median(list)]));
}

function predict(): void {
  seed(1);
  const network = new TVFlowNet();
  const times = seriesTimes();
  for (const count of [1, Number(args.images)]) {
    const f = pictures(count);
    const results = race({
      'TVflowNET, 50 times': () => void predictSeries(network, f, times),
      'TVflowNET, one time': () => void network.predict(f, 0.98),
      'model-driven, 50 times, gap 1e-4': () => void referenceSeries(f, { tolerance: 1e-4 }),
      'model-driven, 50 times, gap 1e-6': () => void referenceSeries(f, { tolerance: 1e-6 }),
    });
    const base = results['TVflowNET, 50 times'] as number;
    console.log(`${count} image${count === 1 ? '' : 's'} of ${size} × ${size}: seconds per image`);
    for (const [name, time] of Object.entries(results)) {
      console.log(`  ${name.padEnd(34)} ${(time / count).toFixed(5)}   ${(time / base).toFixed(2)} of the network's series`);
    }
  }
  for (const [name, time] of Object.entries(paper)) console.log(`  paper: ${name.padEnd(27)} ${time}`);
}

function joint(): void {
  const count = Number(args.images);
  const f = pictures(count);
  const reference = referenceSeries(f, { points: 50, step: 1 / 49, tolerance: 1e-7 });
  const still = ops.stack(new Array<Tensor>(50).fill(f), 0);
  /** Mean over the images, and each of them. */
  const scores = (u: Tensor): { mean: string; all: string } => {
    const list = Array.from({ length: count }, (_, k) =>
      tidy(() => scoreSeries(ops.narrow(u, 1, k, k + 1), ops.narrow(reference, 1, k, k + 1), 5)),
    );
    const mean = (key: 'psnr' | 'ssim'): number => list.reduce((sum, score) => sum + score[key], 0) / count;
    return {
      mean: `${mean('psnr').toFixed(2)} dB, SSIM ${mean('ssim').toFixed(4)}`,
      all: list.map(({ psnr }) => psnr.toFixed(1)).join(' '),
    };
  };
  console.log(`joint space-time optimisation, ${count} images of ${size} × ${size}, 50 times, 2000 steps`);
  const identity = scores(still);
  console.log(`  doing nothing: ${identity.mean} (${identity.all})`);
  for (const phiBoundary of ['natural', 'frame'] as const) {
    const began = performance.now();
    const { u, phi } = solveSpaceTime(f, { phiBoundary });
    const time = (performance.now() - began) / 1000 / count;
    const { mean, all } = scores(u);
    console.log(`  ${phiBoundary.padEnd(8)} ${time.toFixed(2)} s an image, ${mean} (${all})`);
    for (const t of [u, phi]) t.dispose();
  }
  console.log(`  paper: ${paper['joint, GPU']} s, 38.59 dB, SSIM 0.9834, 96 × 96`);
}

/** Times every kernel call by its primitive and shape. */
function profiler(): { report(steps: number): void } {
  const table = new Map<string, { ms: number; calls: number }>();
  for (const [name, value] of Object.entries(ops)) {
    if (!name.endsWith('Primitive')) continue;
    const primitive = value as { name: string; kernel: (...a: unknown[]) => Tensor[] };
    const { kernel } = primitive;
    primitive.kernel = (...a) => {
      const start = performance.now();
      const result = kernel(...a);
      const key = `${primitive.name} ${result[0]?.shape.join('×')}`;
      const entry = table.get(key) ?? { ms: 0, calls: 0 };
      entry.ms += performance.now() - start;
      entry.calls++;
      table.set(key, entry);
      return result;
    };
  }
  return {
    report: (steps) => {
      for (const [name, { ms, calls }] of [...table].sort((a, b) => b[1].ms - a[1].ms).slice(0, 20)) {
        console.log(`  ${name.padEnd(32)} ${(calls / steps).toFixed(0).padStart(4)} calls ${(ms / steps).toFixed(2).padStart(8)} ms`);
      }
    },
  };
}

function step(): void {
  seed(1);
  const network = new TVFlowNet();
  const adam = new optim.Adam(network.namedParameters(), { learningRate: 1e-6 });
  const batch = Number(args.batch);
  const f = ops.reshape(pictures(batch), [batch, 1, size, size]);
  const train = (images: Tensor, timesPerImage: number): void => {
    const { gradients } = nn.valueAndGrad(
      network,
      () => batchLoss(network, images, { timesPerImage, loss: {}, random: new Generator(1) }).total,
    );
    adam.step(gradients);
  };
  const contestants: Record<string, () => void> = { [`batch of ${batch}`]: () => train(f, 1) };
  if (batch % 4 === 0) contestants[`${batch / 4} images at 4 times each`] = () => train(ops.narrow(f, 0, 0, batch / 4), 4);
  const results = race(contestants);
  for (const [name, time] of Object.entries(results))
    console.log(`training step, ${size} × ${size}, ${name}: ${(1000 * time).toFixed(1)} ms`);
  if (!args.profile) return;
  const profile = profiler();
  for (let k = 0; k < 3; k++) tidy(() => train(f, 1));
  profile.report(3);
}

console.log(`${devices()[0]?.description}, ${devices()[0]?.threads} threads`);
for (const name of args.case.split(',')) {
  const run = { predict, joint, step }[name as 'predict'];
  if (run === undefined) throw new TypeError(`Expected predict, joint or step for --case but received ${name}`);
  run();
}
