import { data, nn, ops, optim, seed, Tensor, train } from 'tautgrad';

const [folder = 'photos', out = 'runs/example'] = process.argv.slice(2);
const source = await data.prefetchFolder(folder, { patchSize: 32, seed: 1 }); // worker threads decode, crop, flip and turn

seed(1); // of the initial weights
const conv = (inChannels: number, outChannels: number) => new nn.Conv2d({ inChannels, outChannels, kernelSize: 3, padding: 'same' });
const model = new nn.Sequential(conv(1, 12), new nn.Charbonnier({ channels: 12, contrast: 0.1 }), conv(12, 1));
const schedule = optim.schedules.warmUp(20, optim.schedules.cosine(0.01));

const trainer = new train.Trainer({
  model,
  description: { name: 'example', options: {} }, // kept in the checkpoints
  optimizer: new optim.AdamW(model.namedParameters(), {
    weightDecay: 0,
    // The first filters respond to no constant, and none is longer than 1.
    groups: [
      { match: /layers\.0\.weight/, project: optim.projections.compose(optim.projections.zeroMean(), optim.projections.normBall(1)) },
    ],
  }),
  schedule: (step, progress) => 0.01 * schedule(step, progress),
  steps: 200,
  batchSize: 8,
  batch: (step) => source.batch(step, 8),
  release: (batch) => batch.release(),
  inputs: (batch) => Tensor.from(batch.clean, batch.shape), // the shared memory itself, no copy
  loss: (network, clean, random) => {
    const noisy = ops.add(clean, random.normal(clean.shape, { std: 0.1 })); // of the batch's number alone: a resumed run sees the same
    return ops.mean(ops.square(ops.sub(ops.add(noisy, network.forward(noisy)), clean)));
  },
  clipNorm: 1,
  average: 0.95,
  folder: out, // last.safetensors and log.jsonl
});

trainer.on('step', ({ step, loss }) => {
  if (step % 50 === 0) console.log(`step ${step}: loss ${loss.toFixed(5)}`);
});
const { steps, checkpoint } = await trainer.run();
await source.close();
console.log(`${steps} steps, ${model.parameterCount} weights, ${checkpoint}`);
