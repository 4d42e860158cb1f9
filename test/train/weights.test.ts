/** Weights in files of their own: strict, and clear about what does not fit. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { memory, nn, tensor, train } from '../../src/index.js';
import { temporaryFolder } from '../support/folders.js';
import { values } from '../support/numeric.js';

const net = (outChannels: number): nn.Sequential =>
  new nn.Sequential(new nn.Conv2d({ inChannels: 1, outChannels, kernelSize: 3 }), new nn.BatchNorm2d({ channels: outChannels }));
const all = (module: nn.Module): number[][] => [...module.stateDict().values()].map(values);

it('weights go to a plain file and come back, from model files and checkpoints too', async () => {
  const path = join(temporaryFolder(), 'weights.safetensors');
  const [a, b] = [net(4), net(4)];
  await train.saveWeights(path, a);
  expect([...(await train.readSafetensors(path)).tensors.keys()].toSorted()).toEqual([...a.stateDict().keys()].toSorted());
  const before = memory().tensors;
  await train.loadWeights(path, b);
  expect(all(b)).toEqual(all(a));
  await train.writeCheckpoint(path, { model: { name: 'x', options: {}, state: net(4).stateDict() }, training: null });
  await train.loadWeights(path, a);
  expect(all(a)).not.toEqual(all(b));
  expect(memory().tensors).toBeLessThanOrEqual(before + 6);
});

it('refuses what does not fit with the file, the name, the shape, and changes nothing', async () => {
  const path = join(temporaryFolder(), 'weights.safetensors');
  const module = net(4);
  const kept = all(module);
  await train.saveWeights(path, net(5));
  await expect(train.loadWeights(path, module)).rejects.toThrow(
    `Cannot use ${path}: its tensors do not fit the module (Expected float32 [4, 1, 3, 3] for layers.0.weight but received float32 [5, 1, 3, 3])`,
  );
  await train.saveWeights(path, new nn.Sequential(new nn.Conv2d({ inChannels: 1, outChannels: 4, kernelSize: 3 }), new nn.ReLU()));
  await expect(train.loadWeights(path, module)).rejects.toThrow(/missing layers\.1\.weight, layers\.1\.bias, layers\.1\.runningMean/);
  const double = net(4);
  double.namedParameters().get('layers.0.bias')!.value = tensor([1, 2, 3, 4], { dtype: 'float64' });
  await train.saveWeights(path, double);
  await expect(train.loadWeights(path, module)).rejects.toThrow(/Expected float32 \[4\] for layers\.0\.bias but received float64 \[4\]/);
  await expect(train.loadWeights(`${path}.none`, module)).rejects.toMatchObject({ name: 'FileError' });
  expect(all(module)).toEqual(kept);
});
