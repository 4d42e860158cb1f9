/**
 * Does the data keep up with the training? A step of the denoiser with batches from worker threads, against the same step with batches that
 * lie ready in memory.
 *
 *   npm run bench -- data --data DIR [--case small|default] [--rounds 5]
 *
 * Prints the medians of the time per step, by number of workers and of batches made ahead, and the ratio to ready batches: 1.00 means that
 * the data cost nothing. Contestants take turns. Also the time to read the folder, and the cost of a batch's noise on the main thread.
 */
import { parseArgs } from 'node:util';
import { data, devices, Generator, models, seed, tidy } from 'tautgrad';

const { values: args } = parseArgs({
  options: { data: { type: 'string' }, case: { type: 'string', default: 'default' }, rounds: { type: 'string', default: '5' } },
});
if (args.data === undefined) throw new TypeError('Expected a folder of images for --data but received nothing');
// The small network is the harder case: its steps leave the workers little time.
const { depth, features, batchSize, steps } =
  args.case === 'small' ? { depth: 3, features: 8, batchSize: 16, steps: 60 } : { depth: 8, features: 32, batchSize: 16, steps: 12 };
const options = { patchSize: 40, seed: 1 };
const folder = args.data;
const median = (list: number[]): number => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)] ?? Number.NaN;
const seconds = async <T>(body: () => T | Promise<T>): Promise<{ value: T; time: number }> => {
  const began = performance.now();
  const value = await body();
  return { value, time: (performance.now() - began) / 1000 };
};

console.log(`${devices()[0]?.description}, ${devices()[0]?.threads} threads; ${folder}`);
const plain = await seconds(() => data.folderSource(folder, options));
console.log(`reading the folder on the main thread: ${plain.time.toFixed(2)} s`);
const ready = Array.from({ length: 8 }, (_, step) => plain.value.batch(step, batchSize));

interface Contestant {
  name: string;
  source: data.BatchSource;
  close(): Promise<void>;
  times: number[];
}
const none = async (): Promise<void> => {};
const contestants: Contestant[] = [
  { name: 'ready in memory', source: { ...plain.value, batch: (step) => ready[step % 8]! }, close: none, times: [] },
  { name: 'cut on the main thread', source: plain.value, close: none, times: [] },
];
for (const [workers, ahead] of [
  [1, 1],
  [1, 4],
  [2, 4],
  [2, 8],
  [4, 4],
] as const) {
  const { value, time } = await seconds(() => data.prefetchFolder(folder, { ...options, workers, ahead }));
  console.log(`reading the folder with ${workers} workers: ${time.toFixed(2)} s`);
  contestants.push({ name: `${workers} workers, ${ahead} ahead`, source: value, close: () => value.close(), times: [] });
}

seed(1);
const model = new models.tvlayers.DnCNNTV({ depth, features });
const description = models.tvlayers.describeDenoiser(model);
for (let round = 0; round <= Number(args.rounds); round++) {
  for (const { source, times } of contestants) {
    const trainer = models.tvlayers.denoisingTrainer({ model, description, source, sigma: 0.1, batchSize, steps, learningRate: 1e-9 });
    const { time } = await seconds(() => trainer.run());
    // The first round warms up.
    if (round > 0) times.push((1000 * time) / steps);
  }
}
const base = median(contestants[0]!.times);
for (const { name, times } of contestants) {
  const ms = median(times);
  const spread = `${Math.min(...times).toFixed(2)} to ${Math.max(...times).toFixed(2)}`;
  console.log(`${name.padEnd(24)} ${ms.toFixed(2)} ms a step (${spread}), ratio ${(ms / base).toFixed(3)}`);
}
await Promise.all(contestants.map(({ close }) => close()));

const timed = (body: (k: number) => void): number => {
  const times = Array.from({ length: 40 }, (_, k) => {
    const began = performance.now();
    body(k);
    return performance.now() - began;
  });
  return median(times);
};
const noise = timed((k) => tidy(() => void new Generator(k).normal([batchSize, 1, 40, 40], { std: 0.1 })));
const scripted = timed((k) => new data.Random(k).addNormal(new Float32Array(batchSize * 1600), 0.1));
const cut = timed((k) => void plain.value.batch(k, batchSize));
console.log(
  `a batch: noise ${noise.toFixed(3)} ms by the native generator, ${scripted.toFixed(3)} ms in TypeScript; cutting ${cut.toFixed(3)} ms`,
);
