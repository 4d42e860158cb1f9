/** Captured steps on the emulated GPU, whose graphs are lists of recorded launches and copies. */
import { beforeAll, describe, expect, it } from 'vitest';
import { emulatedLibrary, onDevice } from './device.js';

let library = '';
beforeAll(() => {
  library = emulatedLibrary();
}, 1_800_000);

/** Twelve steps of a small network with noise on its input; prints a hash of the losses, the weights and what the host counted. */
const TRAINING = `
  import { createHash } from 'node:crypto';
  import { nn, ops, optim, randn, seed, Generator, tidy, tensor, train } from $PACKAGE;
  seed(5);
  const noise = new Generator(9);
  const model = new nn.Sequential(
    new nn.Conv2d({ inChannels: 1, outChannels: 3, kernelSize: 3, padding: 1 }),
    new nn.BatchNorm2d({ channels: 3 }),
    new nn.Conv2d({ inChannels: 3, outChannels: 1, kernelSize: 3, padding: 1 }),
  );
  const Optimizer = { adam: optim.Adam, adamw: optim.AdamW, sgd: optim.SGD }[process.env.OPTIMIZER];
  const optimizer = new Optimizer(model.namedParameters(), {
    ...(process.env.OPTIMIZER === 'sgd' && { momentum: 0.9, nesterov: true, dampening: 0 }),
    groups: [{ match: /bias/, learningRateScale: 0.5, weightDecay: 0 }],
  });
  const average = new optim.MovingAverage(model.namedParameters(), 0.9);
  const step = (x) => {
    const { value, gradients } = nn.valueAndGrad(model, () => {
      const keep = ops.compare.lt(noise.uniform(x.shape), 0.8);
      const noisy = ops.select(keep, ops.add(x, noise.normal(x.shape, { std: 0.1 })), 0);
      return ops.mean(ops.square(ops.sub(model.forward(noisy), x)));
    });
    optimizer.step(gradients, { clipNorm: 0.4 });
    average.update();
    return { loss: value };
  };
  const run = process.env.CAPTURE ? train.capture(step) : step;
  const hash = createHash('sha256');
  const add = (t) => hash.update(Buffer.from(t.toTypedArray().slice().buffer));
  const batches = [0, 1, 2].map((k) => randn([2, 1, 5, 6]));
  const losses = [];
  for (let k = 0; k < 12; k++) {
    optimizer.learningRate = 0.01 / (1 + k);
    if (k === 7) noise.uniform([3]).dispose(); // the stream moves between the steps too
    tidy(() => {
      const { loss } = run(batches[k % 3]);
      add(loss);
      losses.push(loss.item());
    });
  }
  for (const t of model.stateDict().values()) add(t);
  for (const t of optimizer.state().tensors.values()) add(t);
  for (const t of average.values.values()) add(t);
  console.log(hash.digest('hex'), optimizer.stepCount, JSON.stringify(noise.state), new Set(losses).size);`;

describe('captured steps', () => {
  it('may fall back to running, with the reason, once', () => {
    const { output } = onDevice(
      library,
      `
      import { ops, tensor, tidy, train } from $PACKAGE;
      const step = train.capture((x) => ops.mul(x, ops.sum(x).item()), { fallback: (reason) => console.log('because:', reason) });
      const x = tensor([1, 2]);
      console.log([1, 2, 3, 4].map(() => tidy(() => step(x).dataSync().join())).join(' '));
      // A checked index is read back, but for the replays; labels of classes too.
      const index = tensor(Int32Array.of(1, 0, 1));
      const pick = train.capture((y, i) => [ops.gather(y, i), ops.scatterAdd(y, i, 2), ops.crossEntropy(ops.reshape(y, [1, 3]), tensor(Int32Array.of(2)))]);
      const y = tensor([10, 20, 30]);
      for (let k = 0; k < 3; k++) console.log(tidy(() => pick(y, index).map((t) => t.dataSync().join()).join(' ')));
      // Out of range only in a replay: the nearer end, not somebody else's memory.
      console.log(tidy(() => pick(y, tensor(Int32Array.of(-5, 1, 999999)))[0].dataSync().join()));`,
    );
    const lines = output.trim().split('\n');
    expect(lines[0]).toMatch(/^because: .*cannot be part of a captured step/);
    expect(lines[1]).toBe('3,6 3,6 3,6 3,6');
    expect(lines[2]).toMatch(/^20,10,20 20,40 /);
    expect(new Set(lines.slice(2, 5)).size).toBe(1);
    expect(lines[5]).toBe('10,20,30');
  }, 60_000);

  it.each(['adam', 'adamw', 'sgd'])(
    'replay the bits of %s step by step: losses, weights, statistics, random streams, counts',
    (optimizer) => {
      const environment = { OPTIMIZER: optimizer };
      const eager = onDevice(library, TRAINING, { environment });
      const captured = onDevice(library, TRAINING, { environment: { ...environment, CAPTURE: '1' }, seed: 2 });
      const late = onDevice(library, TRAINING, { environment: { ...environment, CAPTURE: '1' }, asynchronous: true });
      expect(eager.output).toMatch(/^[0-9a-f]{64} 12 \{"seed":9,"offset":\d+\} 12\n$/);
      expect(captured.output).toBe(eager.output);
      expect(late.output).toBe(eager.output);
    },
    300_000,
  );

  it('refuse what waits for the GPU with a sentence, run nothing of it, and go on', () => {
    const { output, status } = onDevice(
      library,
      `
      import { Generator, ops, optim, tensor, tidy, train, tv, memory } from $PACKAGE;
      const noise = new Generator(1);
      const parameter = { value: tensor([1, 2]), trainable: true };
      const adam = new optim.Adam(new Map([['p', parameter]]));
      const attempt = (what, body) => {
        let calls = 0;
        const step = train.capture((x) => {
          if (calls++ > 0 || what === 'twice') adam.step(new Map([['p', noise.normal([2])]]));
          return body(x);
        });
        const x = tensor([[3, 4, 5]]);
        tidy(() => step(x));
        const before = [adam.stepCount, noise.state.offset, memory().blocks, parameter.value.toTypedArray().join()].join();
        try { tidy(() => step(x)); console.log(what, 'was captured'); } catch (error) { console.log(what + ':', error.message); }
        const after = [adam.stepCount, noise.state.offset, memory().blocks, parameter.value.toTypedArray().join()].join();
        console.log(before === after ? 'nothing changed' : before + ' became ' + after);
        x.dispose();
      };
      attempt('item', (x) => ops.mul(x, ops.sum(x).item()));
      attempt('dataSync', (x) => (x.dataSync(), x));
      attempt('solver', (x) => tv.prox2d(x, 0.3));
      attempt('cpu', (x) => tv.prox2d(x, 0.3, { exact: true }));
      const step = train.capture((x) => ops.mul(x, 2));
      const x = tensor([1, 2]);
      console.log([1, 2, 3].map(() => step(x).dataSync().join()).join(' '));`,
    );
    expect(status).toBe(0);
    const lines = output.trim().split('\n');
    for (const [k, what] of ['item', 'dataSync', 'solver', 'cpu'].entries()) {
      expect(lines[2 * k]).toMatch(new RegExp(`^${what}: .*download cannot be part of a captured step`));
      expect(lines[2 * k + 1]).toBe('nothing changed');
    }
    expect(lines[8]).toBe('2,4 2,4 2,4');
  }, 60_000);

  it('train a TV layer: its prox, the derivative in lambda, and a lambda that changes between replays', () => {
    const script = `
      import { nn, ops, optim, randn, seed, tidy, train } from $PACKAGE;
      seed(8);
      const layer = new nn.TVLayer1d({ channels: 2, direction: 'row', mode: 'smooth', lambda: { init: 0.3, trainable: true } });
      const adam = new optim.Adam(layer.namedParameters(), { learningRate: 0.05 });
      const step = (x) => {
        const { value, gradients } = nn.valueAndGrad(layer, () => ops.mean(ops.square(layer.forward(x))));
        adam.step(gradients);
        return value;
      };
      const run = process.env.CAPTURE ? train.capture(step) : step;
      const losses = [];
      for (let k = 0; k < 10; k++) tidy(() => losses.push(run(randn([1, 2, 4, 9])).item()));
      console.log(losses.join(), [...layer.stateDict().values()].map((t) => t.toTypedArray().join()).join());`;
    const eager = onDevice(library, script);
    expect(eager.output).toMatch(/^[\d.,e -]+\n$/);
    expect(onDevice(library, script, { environment: { CAPTURE: '1' }, asynchronous: true }).output).toBe(eager.output);
  }, 60_000);

  it('hold the memory that they name until they are disposed', () => {
    const { output, status } = onDevice(
      library,
      `
      import { full, memory, ops, tensor, tidy, train, zeros } from $PACKAGE;
      import { addon } from $BACKEND;
      const weight = tensor([10, 20, 30, 40]);
      const step = train.capture((x) => ops.add(ops.mul(x, weight), ops.mul(ops.mul(x, 2), 3)));
      const x = tensor([1, 1, 1, 1]);
      const call = () => tidy(() => step(x).dataSync().join());
      call();
      const expected = call();
      // What the step made, and even its weight, is released; nobody else may write there.
      weight.dispose();
      const others = Array.from({ length: 200 }, () => full([4], -1));
      addon.trim();
      const more = Array.from({ length: 200 }, () => full([4], -2));
      console.log(call() === expected, others.every((t) => t.dataSync().join() === '-1,-1,-1,-1'), more.every((t) => t.dataSync()[0] === -2));
      for (const t of [...others, ...more]) t.dispose();
      const before = memory();
      step.dispose();
      addon.trim();
      const after = memory();
      console.log(before.blocks - after.blocks > 0, after.cachedBytes, after.bytes > 0);
      x.dispose();`,
    );
    expect(status).toBe(0);
    expect(output).toBe('true true true\ntrue 0 true\n');
  }, 60_000);

  it('read inputs, copy results, keep arrays of the recording, and notice a parameter that was replaced', () => {
    const { output, status } = onDevice(
      library,
      `
      import { ops, optim, tensor, tidy, train } from $PACKAGE;
      const step = train.capture((x) => [ops.add(x, tensor([100, 200])), ops.sum(x)]);
      const kept = [1, 2, 3, 4].map((k) => step(tensor([k, -k])));
      console.log(kept.map(([sum]) => sum.dataSync().join()).join(' '));
      const parameter = { value: tensor([1, 2]), trainable: true };
      const sgd = new optim.SGD(new Map([['w', parameter]]), { learningRate: 1 });
      const update = train.capture(() => sgd.step(new Map([['w', tensor([1, 1])]])));
      for (let k = 0; k < 4; k++) update();
      console.log(parameter.value.dataSync().join());
      parameter.value = tensor([5, 5]);
      try { update(); } catch (error) { console.log(error.message); }`,
    );
    expect(status).toBe(0);
    expect(output.trim().split('\n')).toEqual([
      '101,199 102,198 103,197 104,196',
      '-3,-2',
      'Expected w to keep the tensor with which its step was captured but received another: use assign()',
    ]);
  }, 60_000);
});
