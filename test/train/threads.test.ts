/** The number of threads changes nothing: weights after training are the same bit for bit. */
import { execFile } from 'node:child_process';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { distFile } from '../support/dist.js';

it('one, two and three threads train the same weights', { timeout: 120_000 }, async () => {
  const script = `
    import { createHash } from 'node:crypto';
    import { data, devices, models, seed } from ${JSON.stringify(pathToFileURL(distFile('index.js')).href)};
    seed(3);
    const model = new models.tvlayers.DnCNNTV({ depth: 4, features: 24 });
    const trainer = models.tvlayers.denoisingTrainer({
      model, description: { name: 'tvlayers.DnCNNTV', options: {} }, source: data.deadLeavesSource({ patchSize: 40, pictures: 4, pictureSize: 64 }),
      sigma: 0.1, batchSize: 8, steps: 20, training: { clipNorm: 1, average: 0.9 },
    });
    await trainer.run();
    const hash = createHash('sha256');
    for (const t of model.stateDict().values()) hash.update(t.toTypedArray());
    console.log(devices()[0].threads, hash.digest('hex'));
  `;
  const train = async (threads: number): Promise<string[]> => {
    const env = { ...process.env, TAUTGRAD_THREADS: String(threads) };
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { env });
    return stdout.trim().split(' ');
  };
  const results = [await train(1), await train(2), await train(3)];
  expect(results.map(([threads]) => threads)).toEqual(['1', '2', '3']);
  expect(new Set(results.map(([, hash]) => hash)).size).toBe(1);
});
