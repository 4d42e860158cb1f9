/** The training loop: resuming bit for bit, aborting, refusing. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { data, memory, models, type nn, ops, seed, type Tensor, type train } from '../../src/index.js';
import { disposeCheckpoint, readCheckpoint } from '../../src/train/index.js';
import { temporaryFolder } from '../support/folders.js';
import { values as numbersOf } from '../support/numeric.js';

const OPTIONS = { depth: 3, features: 6 };

function makeTrainer(overrides: Partial<models.tvlayers.DenoisingOptions> = {}): {
  model: nn.Module;
  trainer: train.Trainer<data.TrainingBatch, Tensor>;
} {
  seed(5);
  const model = new models.tvlayers.DnCNNTV(OPTIONS);
  const trainer = models.tvlayers.denoisingTrainer({
    model,
    description: { name: 'tvlayers.DnCNNTV', options: OPTIONS },
    source: data.deadLeavesSource({ patchSize: 16, pictures: 4, pictureSize: 32 }),
    sigma: 0.1,
    batchSize: 4,
    steps: 12,
    ...overrides,
  });
  return { model, trainer };
}

const weights = (model: nn.Module): string[] =>
  [...model.stateDict()].map(([name, t]) => `${name}:${Buffer.from(t.toTypedArray().buffer).toString('base64')}`);

describe('Trainer', () => {
  it('learns', async () => {
    const { trainer } = makeTrainer({ steps: 400 });
    const { history } = await trainer.run();
    const mean = (part: train.StepRecord[]): number => part.reduce((s, r) => s + r.loss, 0) / part.length;
    expect(mean(history.slice(-50))).toBeLessThan(0.6 * mean(history.slice(0, 5)));
    expect(history[3]!.metrics.psnr).toBeCloseTo(-10 * Math.log10(history[3]!.loss), 10);
    expect(history[3]!.metrics['lambda.input']).toBeGreaterThan(0);
  });

  it('resumes bit for bit, log included', async () => {
    const whole = makeTrainer({ folder: temporaryFolder() });
    const straight = await whole.trainer.run();

    const folder = temporaryFolder();
    const stop = new AbortController();
    const first = makeTrainer({ folder, signal: stop.signal });
    first.trainer.on('step', ({ step }) => {
      if (step === 5) stop.abort();
    });
    const cut = await first.trainer.run();
    expect([cut.steps, cut.aborted]).toEqual([5, true]);
    // A crash after the checkpoint leaves lines that the resumed run must drop.
    const log = join(folder, 'log.jsonl');
    writeFileSync(log, `${readFileSync(log, 'utf8')}{"step":6,"loss":1,"learningRate":0,"samplesPerSecond":1,"metrics":{}}\n{"step":7,"lo`);

    const second = makeTrainer({ folder });
    await second.trainer.resume();
    const rest = await second.trainer.run();
    expect([rest.steps, rest.aborted]).toEqual([12, false]);
    expect(weights(second.model)).toEqual(weights(whole.model));
    const trace = (records: train.StepRecord[]): unknown[] => records.map((r) => [r.step, r.loss, r.learningRate, r.metrics]);
    expect(trace(rest.history)).toEqual(trace(straight.history));
    expect(
      trace(
        readFileSync(log, 'utf8')
          .trim()
          .split('\n')
          .map((l) => JSON.parse(l) as train.StepRecord),
      ),
    ).toEqual(trace(straight.history));
  });

  it('refuses to resume with other settings, another model, or nothing to resume from', async () => {
    const folder = temporaryFolder();
    await makeTrainer({ folder, steps: 2 }).trainer.run();
    await expect(makeTrainer({ folder, steps: 2, sigma: 0.2 }).trainer.resume()).rejects.toThrow(/settings/);
    await expect(makeTrainer({ folder, steps: 2, description: { name: 'other', options: {} } }).trainer.resume()).rejects.toThrow(/model/);
    await expect(makeTrainer({ folder: temporaryFolder() }).trainer.resume()).rejects.toThrow(/last\.safetensors/);
    await expect(makeTrainer().trainer.resume()).rejects.toThrow(/^Expected a folder/);
  });

  it('stops with a sentence when the loss is not finite, and keeps the memory flat', async () => {
    const bad = makeTrainer({ sigma: 1e25 });
    await expect(bad.trainer.run()).rejects.toThrow(/loss became/);
    const { trainer } = makeTrainer({ steps: 30 });
    const seen: number[] = [];
    trainer.on('step', () => seen.push(memory().blocks));
    await trainer.run();
    expect(seen[29]).toBe(seen[4]);
  });

  const extras = (): NonNullable<models.tvlayers.DenoisingOptions['training']> => ({
    accumulate: 2,
    clipNorm: 0.05,
    average: 0.8,
    evaluation: { every: 3, run: (model) => ops.sum(ops.abs([...model.namedParameters().values()][1]!.value)).item() },
  });

  it('resumes bit for bit with accumulation, clipping, averaged weights and evaluation', async () => {
    const whole = makeTrainer({ folder: temporaryFolder(), training: extras() });
    const straight = await whole.trainer.run();
    const folder = temporaryFolder();
    const stop = new AbortController();
    const first = makeTrainer({ folder, signal: stop.signal, training: extras() });
    first.trainer.on('step', ({ step }) => {
      if (step === 7) stop.abort();
    });
    await first.trainer.run();
    const second = makeTrainer({ folder, training: extras() });
    await second.trainer.resume();
    const rest = await second.trainer.run();
    expect(weights(second.model)).toEqual(weights(whole.model));
    const numbers = (records: train.StepRecord[]): unknown[] => records.map((r) => [r.step, r.loss, r.metrics]);
    expect(numbers(rest.history)).toEqual(numbers(straight.history));
    expect(straight.history.filter((r) => 'validation' in r.metrics).map((r) => r.step)).toEqual([3, 6, 9, 12]);
    // A run without averages has none to go on with.
    const plain = temporaryFolder();
    await makeTrainer({ folder: plain }).trainer.run();
    await expect(makeTrainer({ folder: plain, training: { average: 0.5 } }).trainer.resume()).rejects.toThrow(
      /^Expected to resume with the settings of .*, {"average":null}, but received {"average":0.5}$/,
    );
  });

  it('an accumulated step averages the losses of its batches', async () => {
    const { model, trainer } = makeTrainer({ steps: 1, training: { accumulate: 2 } });
    const { history } = await trainer.run();
    const separate = makeTrainer({ steps: 2 });
    const losses: number[] = [];
    separate.trainer.on('step', (r) => losses.push(r.loss));
    await separate.trainer.run();
    expect(weights(model)).not.toEqual(weights(separate.model));
    // The first half is the first batch of a run that does not accumulate.
    expect(history[0]!.loss).toBeGreaterThan(0);
    expect(2 * history[0]!.loss - losses[0]!).toBeGreaterThan(0);
  });

  it('frees what it keeps', async () => {
    const before = memory().tensors;
    const { model, trainer } = makeTrainer({ steps: 2, training: { average: 0.5, accumulate: 2 } });
    await trainer.run();
    trainer.dispose();
    model.dispose();
    expect(memory().tensors).toBe(before);
  });

  it('keeps the best model, with averaged weights, and stops when nothing improves', async () => {
    const folder = temporaryFolder();
    const values = [5, 3, 4, 4, 4, 1];
    const seen: [number, boolean][] = [];
    const { model, trainer } = makeTrainer({
      folder,
      steps: 40,
      training: { average: 0.5, evaluation: { every: 2, patience: 3, run: (_m, step) => values[step / 2 - 1] as number } },
    });
    trainer.on('evaluation', (value, best) => seen.push([value, best]));
    const result = await trainer.run();
    expect(result).toMatchObject({ steps: 10, stoppedEarly: true, aborted: false });
    expect(seen.map(([, best]) => best)).toEqual([true, true, false, false, false]);
    const best = await readCheckpoint(join(folder, 'best.safetensors'));
    expect(best.training).toBeNull();
    expect([...best.model.state.keys()].toSorted()).toEqual([...model.stateDict().keys()].toSorted());
    // The averaged weights of step 4, not the last ones.
    expect(numbersOf(best.model.state.get('network.body.layers.0.weight')!)).not.toEqual(
      numbersOf(model.stateDict().get('network.body.layers.0.weight')!),
    );
    disposeCheckpoint(best);
    expect(() => makeTrainer({ training: { accumulate: 0 } })).toThrow(/accumulate/);
    expect(() => makeTrainer({ training: { clipNorm: -1 } })).toThrow(/clipNorm/);
  });

  it('evaluates the final weights, once, when the run ends between two evaluations', async () => {
    const folder = temporaryFolder();
    const make = () => makeTrainer({ folder, steps: 5, training: { evaluation: { every: 2, run: (_m, step) => -step } } });
    const { trainer } = make();
    const { history } = await trainer.run();
    expect(history.map(({ metrics }) => metrics.validation)).toEqual([undefined, -2, undefined, -4, -5]);
    const again = make().trainer;
    const seen: number[] = [];
    again.on('evaluation', (value) => seen.push(value));
    await again.resume();
    expect((await again.run()).history).toEqual(history);
    expect(seen).toEqual([]);
  });
});
