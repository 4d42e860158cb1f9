import { data, Generator, nn, ops, optim, Tensor, tidy } from 'tautgrad';

const source = data.deadLeavesSource({ patchSize: 32 }); // natural-looking synthetic images
const conv = (inChannels: number, outChannels: number) => new nn.Conv2d({ inChannels, outChannels, kernelSize: 3, padding: 'same' });
const model = new nn.Sequential(conv(1, 8), new nn.ReLU(), new nn.TVLayer2d({ channels: 8, lambda: { init: 0.05 } }), conv(8, 1));
const adam = new optim.Adam(model.namedParameters(), { learningRate: 3e-3 });
for (let step = 0; step < 200; step++) {
  tidy(() => {
    const { clean, shape } = source.batch(step, 8);
    const target = Tensor.from(clean, shape);
    const noisy = ops.add(target, new Generator(step).normal(shape, { std: 0.1 }));
    const { value, gradients } = nn.valueAndGrad(model, () => ops.mean(ops.square(ops.sub(model.forward(noisy), target))));
    adam.step(gradients);
    if (step % 50 === 0 || step === 199) console.log(`step ${step}: mean squared error ${value.item().toFixed(5)}`);
  });
}
