/** A thousand training steps in a small heap leave tensors, native blocks and the resident size where they were. */
import { execFile } from 'node:child_process';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { distFile } from '../support/dist.js';
import { temporaryFolder } from '../support/folders.js';

const program = (library: string): string => `
  import { data, memory, models, nn, ops, optim, Generator, Tensor, tidy } from ${JSON.stringify(library)};
  const source = data.deadLeavesSource({ patchSize: 24, pictures: 4, pictureSize: 32 });
  const model = new models.tvlayers.DnCNNTV({ depth: 4, features: 16 });
  const adam = new optim.Adam(model.namedParameters());
  const reports = [];
  for (let step = 1; step <= 1000; step++) {
    const { clean, shape } = source.batch(step, 4);
    tidy(() => {
      const target = Tensor.from(clean, shape);
      const noisy = ops.add(target, new Generator(step).normal(shape, { std: 0.1 }));
      adam.step(nn.valueAndGrad(model, () => ops.mean(ops.square(ops.sub(model.forward(noisy), target)))).gradients);
    });
    if (step === 300 || step === 1000) {
      gc();
      const { tensors, blocks, leaked } = memory();
      reports.push({ tensors, blocks, leaked, rss: process.memoryUsage.rss() });
    }
    if (step % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  console.log(JSON.stringify(reports));
`;

/** The same by the training loop, with patches from worker threads and everything that keeps state. */
const loop = (library: string, folder: string): string => `
  import { data, memory, models } from ${JSON.stringify(library)};
  const folder = ${JSON.stringify(folder)};
  for (let i = 0; i < 4; i++) await data.writeImage(folder + '/' + i + '.png', data.deadLeaves({ height: 32, width: 40, seed: i }));
  const source = await data.prefetchFolder(folder, { patchSize: 24 });
  const model = new models.tvlayers.DnCNNTV({ depth: 4, features: 16 });
  const trainer = models.tvlayers.denoisingTrainer({
    model, description: models.tvlayers.describeDenoiser(model), source, sigma: 0.1, batchSize: 4, steps: 2500, folder: folder + '/run',
    checkpointSeconds: 1,
    training: { clipNorm: 1, average: 0.9, accumulate: 2, plateau: {}, evaluation: { every: 100, run: (_, step) => -step } },
  });
  const reports = [];
  trainer.on('step', ({ step }) => {
    // The allocator and the just-in-time compiler settle within the first 1500 steps (measured: flat from there to 6000).
    if (step !== 1500 && step !== 2500) return;
    gc();
    const { tensors, blocks, leaked } = memory();
    reports.push({ tensors, blocks, leaked, rss: process.memoryUsage.rss() });
  });
  await trainer.run();
  await source.close();
  console.log(JSON.stringify(reports));
`;

it.each(['by hand', 'by the training loop'])('1000 training steps %s under a heap of 256 MB', { timeout: 180_000 }, async (how) => {
  const library = pathToFileURL(distFile('index.js')).href;
  const script = how === 'by hand' ? program(library) : loop(library, temporaryFolder());
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--expose-gc',
    '--max-old-space-size=256',
    '--max-semi-space-size=4', // V8 may double its young generation (17 MB resident) at any step; here it has no room to
    '--input-type=module',
    '-e',
    script,
  ]);
  const [early, late] = JSON.parse(stdout) as { tensors: number; blocks: number; leaked: number; rss: number }[];
  expect(late!.tensors).toBe(early!.tensors);
  expect(late!.blocks).toBe(early!.blocks);
  expect(late!.leaked).toBe(0);
  expect(late!.rss).toBeLessThan(1.05 * early!.rss);
});
