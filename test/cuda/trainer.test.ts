/** The training loop with the option `capture` on the emulated GPU: the bits of the same run without it, and a sentence where it cannot be. */
import { beforeAll, describe, expect, it } from 'vitest';
import { emulatedLibrary, onDevice } from './device.js';

let library = '';
beforeAll(() => {
  library = emulatedLibrary();
}, 1_800_000);

/**
 * A run of a network with everything that an update may hold: two batches each, noise, clipping, averaged weights, evaluations between them,
 * a schedule, a plateau. Prints a hash of the weights, their averages and the optimiser's state, and what the log says.
 */
const RUN = `
  import { createHash } from 'node:crypto';
  import { data, models, nn, ops, optim, seed, tensor, Tensor, train } from $PACKAGE;
  const { CAPTURE, MODEL } = process.env;
  seed(5);
  const source = data.deadLeavesSource({ patchSize: 9, pictures: 4, pictureSize: 24 });
  const training = {
    accumulate: 2, clipNorm: 0.05, average: 0.9, capture: CAPTURE === '1', plateau: { every: 3, patience: 0, factor: 0.5 },
    evaluation: { every: 3, run: (m) => ops.sum(ops.abs([...m.namedParameters().values()][0].value)).item() },
  };
  const common = { source, batchSize: 2, steps: 9, training, description: { name: 'none', options: {} } };
  const { tvlayers, tvflow } = models;
  const [model, trainer] = {
    dncnn: () => {
      const m = new tvlayers.DnCNN({ depth: 3, features: 4 });
      return [m, tvlayers.denoisingTrainer({ ...common, model: m, sigma: 0.1 })];
    },
    // Its TV layers solve to a tolerance.
    tv: () => {
      const m = new tvlayers.DnCNNTV({ depth: 2, features: 2 });
      return [m, tvlayers.denoisingTrainer({ ...common, steps: 4, model: m, sigma: 0.1 })];
    },
    flow: () => {
      const m = new tvflow.TVFlowNet({});
      return [m, tvflow.flowTrainer({ ...common, steps: 4, batchSize: 1, model: m })];
    },
    // Inputs of two shapes by turns, in a record, with values for the log; dropout from the default stream.
    shapes: () => {
      const m = new nn.Conv2d({ inChannels: 1, outChannels: 1, kernelSize: 3, padding: 1 });
      const make = (k) => ({ values: Float32Array.from({ length: 24 }, (_, i) => Math.sin(i * k + i)), shape: k % 2 ? [1, 1, 4, 6] : [1, 1, 6, 4] });
      return [m, new train.Trainer({
        model: m, optimizer: new optim.SGD(m.namedParameters(), { momentum: 0.5 }), description: common.description, batchSize: 1, steps: 10,
        clipNorm: 0.5, capture: CAPTURE === '1', batch: make, inputs: (b) => ({ x: Tensor.from(b.values, b.shape) }),
        loss: (network, { x }, random) => {
          const noisy = ops.add(x, random.normal(x.shape, { std: 0.1 }));
          const kept = ops.mul(noisy, ops.cast(ops.compare.lt(defaults(x.shape), 0.7), 'float32'));
          return { loss: ops.mean(ops.square(ops.sub(network.forward(kept), x))), values: { largest: ops.max(noisy) } };
        },
      })];
    },
  }[MODEL]();
  function defaults(shape) { return gen.uniform(shape); }
  import { Generator } from $PACKAGE;
  const gen = new Generator(3);
  trainer.on('uncaptured', (reason) => console.log('uncaptured:', reason));
  const { history } = await trainer.run();
  const hash = createHash('sha256');
  const add = (t) => hash.update(Buffer.from(t.toTypedArray().slice().buffer));
  for (const t of model.stateDict().values()) add(t);
  trainer.averaged(() => { for (const t of model.stateDict().values()) add(t); });
  console.log(hash.digest('hex'), JSON.stringify(gen.state), JSON.stringify(history.map(({ samplesPerSecond, ...rest }) => rest)));
  trainer.dispose();`;

describe('Trainer with capture', () => {
  it.each(['dncnn', 'flow', 'shapes'])(
    'replays the bits of a run without it: %s',
    (model) => {
      const environment = { MODEL: model };
      const eager = onDevice(library, RUN, { environment });
      expect(eager.output).toMatch(/^[0-9a-f]{64} \{"seed":3,"offset":\d+\} \[\{"step":1,"loss":[\d.e-]+.*\]\n$/);
      expect(eager.status).toBe(0);
      const captured = { ...environment, CAPTURE: '1' };
      expect(onDevice(library, RUN, { environment: captured, seed: 2 }).output).toBe(eager.output);
      expect(onDevice(library, RUN, { environment: captured, asynchronous: true }).output).toBe(eager.output);
    },
    300_000,
  );

  it('says once why an update cannot be recorded, and goes on without', () => {
    const eager = onDevice(library, RUN, { environment: { MODEL: 'tv' } });
    const fallen = onDevice(library, RUN, { environment: { MODEL: 'tv', CAPTURE: '1' } });
    const [notice, ...rest] = fallen.output.split('\n');
    expect(notice).toMatch(/^uncaptured: .*cannot be part of a captured step/);
    expect(rest.join('\n')).toBe(eager.output);
  }, 120_000);

  it('checks that there are tensors to record', () => {
    const { output } = onDevice(
      library,
      `
      import { nn, ops, optim, tensor, train } from $PACKAGE;
      const model = new nn.Conv2d({ inChannels: 1, outChannels: 1, kernelSize: 1 });
      const trainer = new train.Trainer({
        model, optimizer: new optim.SGD(model.namedParameters()), description: { name: 'none', options: {} }, batchSize: 1, steps: 3,
        capture: true, batch: (k) => k, loss: (m, k) => ops.sum(ops.mul(m.forward(tensor([[[[k]]]])), k)),
      });
      await trainer.run().catch((error) => console.log(error.message));`,
    );
    expect(output).toBe('Expected a tensor, or arrays and records of tensors, but received number\n');
  }, 60_000);

  it('serves the training commands: --capture, with batches on their way to the GPU', () => {
    const cli = JSON.stringify(new URL('../../dist/cli/main.js', import.meta.url).pathname);
    const run = (...extra: string[]) => {
      const script = `
        import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
        import { tmpdir } from 'node:os';
        import { join } from 'node:path';
        import { data } from $PACKAGE;
        const folder = mkdtempSync(join(tmpdir(), 'tautgrad-capture-'));
        const out = join(folder, 'run');
        // A small picture to evaluate on: the page's own would take the emulation minutes.
        await data.writeImage(join(folder, 'small.png'), data.deadLeaves({ height: 16, width: 16, seed: 1 }));
        const options = ['--validation', folder, '--evaluate-every', '3', '--steps', '5', '--batch', '2', '--patch', '12', '--ema', '0.9', '--clip', '0.1', '--accumulate', '2'];
        process.argv = [process.execPath, 'tautgrad', 'train', 'denoise', '--depth', '2', '--features', '2', '--out', out, ...options, ...${JSON.stringify(extra)}];
        process.on('exit', () => {
          const log = readFileSync(join(out, 'log.jsonl'), 'utf8').trim().split('\\n').map((line) => JSON.parse(line));
          console.log('log', JSON.stringify(log.map(({ samplesPerSecond, ...rest }) => rest)));
          rmSync(folder, { recursive: true });
        });
        await import(${cli});`;
      return onDevice(library, script).output;
    };
    const log = (output: string) => output.split('\n').find((line) => line.startsWith('log '));
    const [plain, captured] = [run(), run('--capture')];
    expect(log(plain)).toMatch(/^log \[\{"step":1,/);
    expect(log(captured)).toBe(log(plain));
    expect(captured).toMatch(/^Steps are not captured: .*cannot be part of a captured step/m);
    expect(plain).not.toContain('not captured');
  }, 300_000);
});
