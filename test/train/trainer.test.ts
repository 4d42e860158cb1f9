/** The training loop: resuming bit for bit, aborting, refusing. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { data, memory, models, type nn, seed, type train } from '../../src/index.js';
import { temporaryFolder } from '../support/folders.js';

const OPTIONS = { depth: 3, features: 6 };

function makeTrainer(overrides: Partial<models.tvlayers.DenoisingOptions> = {}): {
  model: nn.Module;
  trainer: train.Trainer<data.PatchBatch>;
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
});
