/** The layers of ../engine.ts: the value, and the gradients in all inputs for a given cotangent. */
import { ops, randn, type Tensor, tensor, tidy, vjp } from 'tautgrad';
import type { Case } from '../engine.js';

interface Layer {
  title: string;
  shapes: number[][];
  f: (...inputs: Tensor[]) => Tensor;
}

/** Labels in [0, classes), spread over them. */
function labels(shape: readonly number[], classes: number): Tensor {
  const count = shape.reduce((a, b) => a * b, 1);
  return tensor(
    Int32Array.from({ length: count }, (_, i) => (i * 7919) % classes),
    { shape },
  );
}

const [rows, pixels] = [labels([256], 1000), labels([8, 64, 64], 21)];
const images = [8, 64, 64, 64];

/** By the names of PyTorch's side (../peers/torch_engine.py). */
const layers: Record<string, Layer> = {
  batchNorm: { title: 'batch norm 8×64×64×64', shapes: [images, [64], [64]], f: (x, w, b) => ops.batchNorm(x!, w!, b!).y },
  batchNormRelu: {
    title: 'batch norm and ReLU 8×64×64×64',
    shapes: [images, [64], [64]],
    f: (x, w, b) => ops.batchNorm(x!, w!, b!, { relu: true }).y,
  },
  layerNorm: { title: 'layer norm 4096×512', shapes: [[4096, 512], [512], [512]], f: (x, w, b) => ops.layerNorm(x!, w!, b!) },
  softmax: { title: 'softmax 4096×512', shapes: [[4096, 512]], f: (x) => ops.softmax(x!) },
  softmaxChannels: { title: 'softmax of channels 8×21×64×64', shapes: [[8, 21, 64, 64]], f: (x) => ops.softmax(x!, 1) },
  logSoftmax: { title: 'logSoftmax 4096×512', shapes: [[4096, 512]], f: (x) => ops.logSoftmax(x!) },
  logSumExp: { title: 'logSumExp 4096×512', shapes: [[4096, 512]], f: (x) => ops.logSumExp(x!) },
  crossEntropy: { title: 'cross-entropy 256×1000', shapes: [[256, 1000]], f: (x) => ops.crossEntropy(x!, rows) },
  crossEntropyPixels: { title: 'cross-entropy of pixels 8×21×64×64', shapes: [[8, 21, 64, 64]], f: (x) => ops.crossEntropy(x!, pixels) },
  maxPool: { title: 'max pool 2×2 8×64×64×64', shapes: [images], f: (x) => ops.maxPool2d(x!, { size: 2 }) },
  averagePool: { title: 'average pool 2×2 8×64×64×64', shapes: [images], f: (x) => ops.averagePool2d(x!, { size: 2 }) },
};

export const layerCases: Case[] = Object.entries(layers).map(([layer, { title }]) => ({
  name: `${title} forward+backward`,
  kind: 'layer',
  layer,
  flop: 0,
}));

export function prepareLayer(c: Case): () => void {
  const { shapes, f } = layers[c.layer as string] as Layer;
  const inputs = shapes.map((shape) => randn(shape));
  const cotangent = randn(tidy(() => f(...inputs).shape));
  return () =>
    tidy(() => {
      const { pullback } = vjp(f, ...inputs);
      pullback(cotangent);
    });
}
