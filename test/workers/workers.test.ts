/** The library in worker threads: each has its own, and tensors stay where they were made. */
import { execFile } from 'node:child_process';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { ops, tensor } from '../../src/index.js';
import { distFile } from '../support/dist.js';

const library = JSON.stringify(pathToFileURL(distFile('index.js')).href);
const run = promisify(execFile);

/** Trains a little and reports the weights. */
const training = `
  const { parentPort, workerData } = await import('node:worker_threads');
  const { data, models, seed } = await import(${library});
  seed(workerData);
  const model = new models.tvlayers.DnCNNTV({ depth: 3, features: 8 });
  const trainer = models.tvlayers.denoisingTrainer({
    model, description: { name: 'tvlayers.DnCNNTV', options: {} }, source: data.deadLeavesSource({ patchSize: 16, pictures: 4, pictureSize: 32, seed: workerData }),
    sigma: 0.1, batchSize: 4, steps: 25,
  });
  await trainer.run();
  parentPort.postMessage([...model.stateDict().values()].map((t) => Buffer.from(t.toTypedArray().buffer).toString('base64')).join());
`;

function train(seed: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(training)}`), { workerData: seed });
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

it('two workers train at once and get what each gets alone', { timeout: 120_000 }, async () => {
  const together = await Promise.all([train(1), train(2)]);
  expect(together).toEqual([await train(1), await train(2)]);
  expect(together[0]).not.toBe(together[1]);
});

it('a tensor that went through a message is refused with a sentence', () => {
  const x = tensor([1, 2]);
  const copy = structuredClone(x);
  expect(() => ops.neg(copy)).toThrow(/^Expected a tensor for x but received an object.*toTypedArray/);
});

it('the process exits cleanly with a solve in flight, and a worker may be stopped in one', { timeout: 60_000 }, async () => {
  const solve = `const { randn, tv, memory } = await import(${library}); void tv.prox2dAsync(randn([8, 256, 256]), 1, { tolerance: 1e-6 }).catch(() => {});`;
  const script = `
    ${solve}
    const { Worker } = await import('node:worker_threads');
    const before = memory().blocks;
    const worker = new Worker(new URL('data:text/javascript,' + encodeURIComponent(${JSON.stringify(`${solve} (await import('node:worker_threads')).parentPort.postMessage(0);`)})));
    await new Promise((resolve) => worker.once('message', resolve));
    console.log(await worker.terminate());
    process.exit(0);
  `;
  const { stdout, stderr } = await run(process.execPath, ['--input-type=module', '-e', script]);
  expect(stderr).toBe('');
  expect(stdout.trim()).toBe('1');
});

it('the blocks of a worker that ended go back to the pool', { timeout: 60_000 }, async () => {
  const script = `
    const { memory } = await import(${library});
    const { Worker } = await import('node:worker_threads');
    const before = memory().blocks;
    const code = 'const { zeros, memory } = await import(${library.replaceAll('"', '\\"')}); globalThis.kept = Array.from({ length: 50 }, () => zeros([1000])); (await import("node:worker_threads")).parentPort.postMessage(memory().blocks);';
    const worker = new Worker(new URL('data:text/javascript,' + encodeURIComponent(code)));
    const inside = await new Promise((resolve) => worker.once('message', resolve));
    await new Promise((resolve) => worker.once('exit', resolve));
    console.log(JSON.stringify([inside - before, memory().blocks - before]));
  `;
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script]);
  const [inside, after] = JSON.parse(stdout) as [number, number];
  expect(inside).toBeGreaterThanOrEqual(50);
  expect(after).toBe(0);
});
