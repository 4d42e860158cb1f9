/** Training from batches that arrive later: worker threads, resuming, aborting, giving memory back; the plateau; typed events. */
import { join } from 'node:path';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { data, models, type nn, ops, optim, seed, Tensor, train } from '../../src/index.js';
import { temporaryFolder } from '../support/folders.js';

// Worker threads need compiled modules.
const compiled = new URL('../../dist/data/prefetch.js', import.meta.url).href;
const { prefetchFolder } = (await import(compiled)) as typeof import('../../src/data/prefetch.js');

const OPTIONS = { depth: 3, features: 6 };
const SOURCE = { patchSize: 16, seed: 2 } as const;

async function folderOfImages(): Promise<string> {
  const folder = temporaryFolder();
  for (let i = 0; i < 5; i++)
    await data.writeImage(join(folder, `${i}.png`), data.deadLeaves({ height: 24 + i, width: 30, seed: i, minRadius: 3 }));
  return folder;
}

function makeTrainer(source: data.BatchSource, overrides: Partial<models.tvlayers.DenoisingOptions> = {}) {
  seed(5);
  const model = new models.tvlayers.DnCNNTV(OPTIONS);
  const trainer = models.tvlayers.denoisingTrainer({
    model,
    description: { name: 'tvlayers.DnCNNTV', options: OPTIONS },
    source,
    sigma: 0.1,
    batchSize: 4,
    steps: 12,
    training: { accumulate: 2 },
    ...overrides,
  });
  return { model, trainer };
}

const weights = (model: nn.Module): string[] =>
  [...model.stateDict()].map(([name, t]) => `${name}:${Buffer.from(t.toTypedArray().buffer).toString('base64')}`);
const losses = (records: readonly train.StepRecord[]): unknown[] => records.map((r) => [r.step, r.loss, r.learningRate]);

describe('training from worker threads', () => {
  it('gives the weights of training without them, whatever their number, also when it is resumed', async () => {
    const folder = await folderOfImages();
    const plain = makeTrainer(await data.folderSource(folder, SOURCE));
    const straight = await plain.trainer.run();
    for (const workers of [1, 3]) {
      const source = await prefetchFolder(folder, { ...SOURCE, workers });
      const run = temporaryFolder();
      const stop = new AbortController();
      const first = makeTrainer(source, { folder: run, signal: stop.signal });
      first.trainer.on('step', ({ step }) => {
        // While the batches of the next step are being made.
        if (step === 5) queueMicrotask(() => stop.abort());
      });
      expect(await first.trainer.run()).toMatchObject({ steps: 5, aborted: true });
      const second = makeTrainer(source, { folder: run });
      await second.trainer.resume();
      const rest = await second.trainer.run();
      expect(weights(second.model)).toEqual(weights(plain.model));
      expect(losses(rest.history)).toEqual(losses(straight.history));
      await source.close();
    }
  });

  it('passes on why a batch could not be made, and leaves the checkpoint alone', async () => {
    const source = await prefetchFolder(await folderOfImages(), SOURCE);
    const run = temporaryFolder();
    const { trainer } = makeTrainer(source, { folder: run, checkpointSeconds: 0 });
    trainer.on('step', ({ step }) => {
      if (step === 3) void source.close();
    });
    await expect(trainer.run()).rejects.toThrow('Expected an open prefetch source but received a closed one');
    const checkpoint = await train.readCheckpoint(join(run, train.CHECKPOINT_FILE));
    expect(checkpoint.training?.state.step).toBe(3);
    train.disposeCheckpoint(checkpoint);
  });
});

/** Fits one number to batches that the test hands out. */
function tinyTrainer(overrides: Partial<train.TrainerOptions<Float32Array>> & { batch: train.TrainerOptions<Float32Array>['batch'] }) {
  const model = new models.tvlayers.DnCNN({ depth: 2, features: 2 });
  return new train.Trainer<Float32Array>({
    model,
    description: { name: 'tiny', options: {} },
    optimizer: new optim.SGD(model.namedParameters(), { learningRate: 0.5 }),
    batchSize: 1,
    steps: 6,
    loss: (m, batch) => ops.mean(ops.square(m.forward(Tensor.from(batch, [1, 1, 4, 4])))),
    ...overrides,
  });
}

describe('Trainer', () => {
  it('stops while a batch is awaited, and gives back what comes too late', async () => {
    const stop = new AbortController();
    let deliver = (_: Float32Array): void => {};
    const released: number[] = [];
    const trainer = tinyTrainer({
      batch: (step) => (step < 5 ? new Float32Array(16).fill(step) : new Promise((resolve) => (deliver = resolve))),
      release: (batch) => released.push(batch[0]!),
      accumulate: 2,
      signal: stop.signal,
    });
    setTimeout(() => stop.abort(), 50);
    expect(await trainer.run()).toMatchObject({ steps: 2, aborted: true, stoppedEarly: false });
    // The fourth batch of the third step never came: the one that it had to wait for it with goes back unused.
    expect(released).toEqual([0, 1, 2, 3, 4]);
    deliver(new Float32Array(16).fill(5));
    await new Promise((resolve) => setImmediate(resolve));
    expect(released).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('gives batches back after the step, and when the step fails', async () => {
    const released: number[] = [];
    const trainer = tinyTrainer({
      batch: async (step) => new Float32Array(16).fill(step < 2 ? step : Number.NaN),
      release: (batch) => released.push(batch[0]!),
    });
    trainer.on('step', ({ step }) => expect(released).toHaveLength(step));
    await expect(trainer.run()).rejects.toThrow(/^The loss became NaN at step 2: lower the learning rate or check the data$/);
    expect(released).toEqual([0, 1, Number.NaN]);
  });

  it('lowers the rate on a plateau of the loss, also across a resume', async () => {
    const make = (folder: string, signal?: AbortSignal) =>
      tinyTrainer({
        batch: () => new Float32Array(16),
        // A loss of one value: no report after the first improves.
        loss: (m) => ops.add(ops.mul(ops.mean(m.forward(Tensor.from(new Float32Array(16), [1, 1, 4, 4]))), 0), 1),
        plateau: { every: 2, patience: 1, factor: 0.5, floor: 0.1 },
        steps: 14,
        folder,
        ...(signal && { signal }),
      });
    const straight = await make(temporaryFolder()).run();
    expect(straight.history.map((r) => r.learningRate)).toEqual([...Array(6).fill(0.5), ...Array(4).fill(0.25), ...Array(4).fill(0.125)]);
    const folder = temporaryFolder();
    const stop = new AbortController();
    const first = make(folder, stop.signal);
    first.on('step', ({ step }) => {
      if (step === 5) stop.abort();
    });
    await first.run();
    const second = make(folder);
    await second.resume();
    expect(losses((await second.run()).history)).toEqual(losses(straight.history));
    expect(() => tinyTrainer({ batch: () => new Float32Array(16), plateau: { every: 0 } })).toThrow(/plateau\.every/);
    expect(() => tinyTrainer({ batch: () => new Float32Array(16), plateau: { factor: 1 } })).toThrow(/\(0, 1\) for factor/);
  });

  it('lowers the rate when evaluations that should rise do not', async () => {
    const values = [1, 2, 2, 2, 3, 3];
    const trainer = tinyTrainer({
      batch: () => new Float32Array(16),
      steps: 6,
      plateau: { patience: 0, factor: 0.5 },
      evaluation: { every: 1, goal: 'max', name: 'score', run: (_m, step) => values[step - 1]! },
    });
    const { history } = await trainer.run();
    expect(history.map((r) => r.learningRate)).toEqual([0.5, 0.5, 0.5, 0.25, 0.125, 0.125]);
    expect(history.map((r) => r.metrics.score)).toEqual(values);
  });

  it('has typed events, and tells of every step, evaluation and checkpoint', async () => {
    const folder = temporaryFolder();
    const trainer = tinyTrainer({
      batch: () => new Float32Array(16),
      steps: 3,
      folder,
      checkpointSeconds: 0,
      evaluation: { every: 2, run: () => 1 },
    });
    expectTypeOf(trainer.on<'step'>)
      .parameter(1)
      .toExtend<(record: train.StepRecord, secondsLeft: number) => void>();
    // @ts-expect-error there is no such event
    trainer.on('epoch', (n: number, m: number, o: number) => [n, m, o].length);
    const told: string[] = [];
    trainer.on('step', (record, secondsLeft) => told.push(`step ${record.step} ${secondsLeft >= 0}`));
    trainer.on('evaluation', (value, best) => told.push(`evaluation ${value} ${best}`));
    trainer.on('checkpoint', (path) => told.push(path === join(folder, train.CHECKPOINT_FILE) ? 'checkpoint' : path));
    await trainer.run();
    expect(told).toEqual([
      'step 1 true',
      'checkpoint',
      'evaluation 1 true',
      'step 2 true',
      'checkpoint',
      'step 3 true',
      'checkpoint',
      // The run ends between two evaluations: with one of its final weights.
      'evaluation 1 false',
      'checkpoint',
    ]);
  });
});
