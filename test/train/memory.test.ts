/** A thousand training steps in a small heap leave tensors, native blocks and the resident size where they were. */
import { execFile } from 'node:child_process';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { distFile } from '../support/dist.js';

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

it('1000 training steps under a heap of 256 MB', { timeout: 180_000 }, async () => {
  const script = program(pathToFileURL(distFile('index.js')).href);
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--expose-gc',
    '--max-old-space-size=256',
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
