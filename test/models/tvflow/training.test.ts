/** Training TVflowNET, its files, and its scores (specification §5). */
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { data, Generator, models, ops, seed, Tensor, tensor, tidy, train } from '../../../src/index.js';
import { temporaryFolder } from '../../support/folders.js';
import { relativeError, values } from '../../support/numeric.js';

const { describeFlowNet, flowTrainer, loadFlowNet, networkPsnr, referenceOf, scoreFlow, summarise, TVFlowNet } = models.tvflow;

describe('training TVflowNET', () => {
  const made: models.tvflow.TVFlowNet[] = [];
  afterEach(() => {
    for (const network of made.splice(0)) network.dispose();
  });
  function make(options: models.tvflow.NetworkOptions = {}): models.tvflow.TVFlowNet {
    seed(1);
    made.push(new TVFlowNet(options));
    return made.at(-1) as models.tvflow.TVFlowNet;
  }
  const source = (channels: 1 | 3 = 1): data.PatchSource =>
    data.deadLeavesSource({ patchSize: 16, pictures: 8, pictureSize: 32, channels });

  it('lowers the loss tenfold in a hundred steps, and logs its four terms', { timeout: 60_000 }, async () => {
    const model = make({ centered: true });
    const { history } = await flowTrainer({
      model,
      source: source(),
      batchSize: 4,
      steps: 100,
      learningRate: 3e-3,
      loss: { tvWeight: 1e-6 },
    }).run();
    const mean = (from: number, to: number): number => history.slice(from, to).reduce((sum, { loss }) => sum + loss, 0) / (to - from);
    expect(mean(90, 100)).toBeLessThan(0.1 * mean(0, 10));
    const { loss, metrics } = history[99]!;
    expect(Object.keys(metrics)).toEqual(['temporal', 'tv', 'normalisation', 'initial']);
    expect(Object.values(metrics).reduce((a, b) => a + b)).toBeCloseTo(loss, 5);
  });

  it('trajectories: several times per image, the first of them 0', { timeout: 60_000 }, async () => {
    const model = make();
    const { history } = await flowTrainer({ model, source: source(3), batchSize: 4, timesPerImage: 2, steps: 3 }).run();
    expect(history).toHaveLength(3);
    expect(Number.isFinite(history[2]!.loss)).toBe(true);
    tidy(() => {
      const f = ops.mul(Tensor.from(source().batch(0, 2).clean, [2, 1, 16, 16]), 5);
      // û(0) of the trajectory is û(0).
      const terms = models.tvflow.batchLoss(model, f, { timesPerImage: 3, loss: {}, random: new Generator(4) });
      const start = ops.mean(ops.square(ops.sub(model.predict(f, 0).u, f)));
      expect(Math.abs(terms.initial.item() / start.item() - 1)).toBeLessThan(1e-5);
    });
  });

  it('resumes to the same weights', { timeout: 60_000 }, async () => {
    const run = async (folder: string, stopAt: number, resume: boolean): Promise<models.tvflow.TVFlowNet> => {
      const model = make();
      const stop = new AbortController();
      const trainer = flowTrainer({ model, source: source(), batchSize: 2, steps: 4, folder, schedule: () => 1, signal: stop.signal });
      trainer.on('step', ({ step }) => {
        if (step === stopAt) stop.abort();
      });
      if (resume) await trainer.resume();
      await trainer.run();
      return model;
    };
    const folder = temporaryFolder();
    const whole = await run(temporaryFolder(), 4, false);
    await run(folder, 2, false);
    const resumed = await run(folder, 4, true);
    for (const [name, value] of whole.stateDict()) expect(relativeError(resumed.stateDict().get(name) as Tensor, value)).toBe(0);
  });

  it('refuses wrong options', () => {
    const model = make();
    const wrong = (options: Partial<models.tvflow.FlowTrainingOptions>, sentence: string): void => {
      expect(() => flowTrainer({ model, source: source(), steps: 1, ...options })).toThrow(sentence);
    };
    wrong({ batchSize: 0 }, 'Expected an integer >= 1 for batchSize but received 0');
    wrong({ timesPerImage: 3 }, 'Expected an integer >= 1 that divides the batch of 8 for timesPerImage but received 3');
    wrong({ endTime: -1 }, 'Expected a finite number > 0 for endTime but received -1');
    wrong({ loss: { tvWeight: Number.NaN } }, 'for tvWeight but received NaN');
  });

  it('scores against the model-driven flow, beside doing nothing', () => {
    const model = make();
    tidy(() => {
      const image = data.deadLeaves({ height: 16, width: 20, channels: 3, seed: 2 });
      const options = { points: 6, step: 0.05 };
      const reference = referenceOf('leaves', image, 5, options);
      expect(reference.series.shape).toEqual([6, 3, 16, 20]);
      model.layers[7]!.weight.value.assign(ops.mul(model.layers[7]!.weight.value, 0));
      const score = scoreFlow(model, reference, options);
      expect(score.psnr).toBeCloseTo(score.identityPsnr, 6);
      expect(score.ssim).toBeCloseTo(score.identitySsim, 6);
      expect(networkPsnr(model, reference, options)).toBeCloseTo(score.psnr, 6);
      // By hand, from the frames.
      const [f, series] = [values(reference.f), values(reference.series)];
      const mse = series.reduce((sum, v, i) => sum + (v - f[i % f.length]!) ** 2, 0) / series.length;
      expect(score.psnr).toBeCloseTo(10 * Math.log10(25 / mse), 4);
      const { mean, deviation } = summarise([score, { ...score, psnr: score.psnr + 2 }]);
      expect(mean.psnr).toBeCloseTo(score.psnr + 1, 9);
      expect(deviation.psnr).toBeCloseTo(1, 9);
      const joint = referenceOf('leaves', image, 5, { points: 3, step: 0.05, against: 'joint' });
      expect(joint.series.shape).toEqual([3, 3, 16, 20]);
    });
  });

  it('keeps networks in files, and refuses others', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'model.safetensors');
    const model = make({ activations: 'softplus', padding: 'reflect', centered: true, scale: 1 });
    await train.writeCheckpoint(path, { model: { ...describeFlowNet(model), state: model.stateDict() }, training: null });
    const loaded = await loadFlowNet(path);
    made.push(loaded);
    expect(loaded.options).toEqual(model.options);
    for (const [name, value] of model.stateDict()) expect(relativeError(loaded.stateDict().get(name) as Tensor, value)).toBe(0);

    seed(1);
    const other = new models.tdv.VariationalNetwork({ features: 2, macroBlocks: 1 });
    const wrong = join(folder, 'tdv.safetensors');
    await train.writeCheckpoint(wrong, { model: { ...models.tdv.describeNetwork(other), state: other.stateDict() }, training: null });
    other.dispose();
    await expect(loadFlowNet(wrong)).rejects.toThrow(
      'expected a network of "tautgrad train tvflow" but it holds the model tdv.VariationalNetwork',
    );
    await train.writeSafetensors(wrong, new Map([['weight', { dtype: 'F32', shape: [1], data: new Float32Array(1) }]]));
    await expect(loadFlowNet(wrong)).rejects.toThrow('but it holds other tensors (weight…)');

    model.layers[2]!.bias!.value.assign(tensor(new Array(16).fill(Number.NaN)));
    await train.writeCheckpoint(wrong, { model: { ...describeFlowNet(model), state: model.stateDict() }, training: null });
    await expect(loadFlowNet(wrong)).rejects.toThrow('expected finite numbers for layers.2.bias but received NaN');
    const options = { ...describeFlowNet(model).options, activations: 'tanh' };
    await train.writeCheckpoint(wrong, { model: { name: 'tvflow.TVFlowNet', options, state: model.stateDict() }, training: null });
    await expect(loadFlowNet(wrong)).rejects.toThrow('its options are not understood (activations)');
  });
});
