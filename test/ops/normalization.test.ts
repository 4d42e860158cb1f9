/** Normalisation, softmax and pooling beyond their rows of primitives.test.ts. */
import { describe, expect, it } from 'vitest';
import { checkpoint, grad, nn, ops, type Tensor, tensor, tidy } from '../../src/index.js';
import { normal, positive, relativeError, values } from '../support/numeric.js';

describe('batch norm', () => {
  it('has the gradient of its composition through a loss that uses it twice, and under checkpoint', () => {
    tidy(() => {
      const [w, b] = [positive([3], 1), normal([3], 2)];
      const axes = [0, 2, 3];
      const spread = (v: Tensor): Tensor => ops.reshape(v, [1, 3, 1, 1]);
      const composed = (x: Tensor): Tensor => {
        const centred = ops.sub(x, ops.mean(x, { axes, keepDims: true }));
        const inverse = ops.div(spread(w), ops.sqrt(ops.add(ops.mean(ops.square(centred), { axes, keepDims: true }), 0.1)));
        return ops.relu(ops.add(ops.mul(centred, inverse), spread(b)));
      };
      const fused = (x: Tensor): Tensor => ops.batchNorm(x, w, b, { epsilon: 0.1, relu: true }).y;
      const loss = (f: (x: Tensor) => Tensor) => (x: Tensor) => ops.sum(ops.exp(ops.mul(f(f(x)), x)));
      const x = normal([2, 3, 4, 5], 3);
      expect(relativeError(grad(loss(fused))(x), grad(loss(composed))(x))).toBeLessThan(1e-12);
      expect(relativeError(grad(loss(checkpoint(fused)))(x), grad(loss(composed))(x))).toBeLessThan(1e-12);
      // A gradient inside a loss: fused and composed, differentiated twice.
      const twice = (f: (x: Tensor) => Tensor) => (x: Tensor) => ops.sum(ops.square(grad(loss(f))(x)));
      expect(relativeError(grad(twice(fused))(x), grad(twice(composed))(x))).toBeLessThan(1e-12);
    });
  });

  it('keeps the variance of numbers far from 0 in float32', () => {
    tidy(() => {
      const x = ops.cast(ops.add(normal([4, 2, 60, 60], 4), 1000), 'float32');
      const { mean, variance } = ops.batchNorm(x, tensor([1, 1]), tensor([0, 0]));
      const wide = ops.cast(x, 'float64');
      expect(relativeError(ops.cast(mean, 'float64'), ops.mean(wide, { axes: [0, 2, 3] }))).toBeLessThan(1e-7);
      expect(relativeError(ops.cast(variance, 'float64'), ops.variance(wide, { axes: [0, 2, 3] }))).toBeLessThan(1e-6);
    });
  });

  it('and the ReLU after it are one layer of a Sequential, in training and in use', () => {
    tidy(() => {
      const bn = new nn.BatchNorm2d({ channels: 3 });
      const twin = new nn.BatchNorm2d({ channels: 3 });
      const model = new nn.Sequential(bn, new nn.ReLU());
      const x = ops.cast(normal([2, 3, 5, 4], 5), 'float32');
      for (const training of [true, false]) {
        if (!training) for (const m of [model, twin]) m.eval();
        expect(values(model.forward(x))).toEqual(values(ops.relu(twin.forward(x))));
        expect(values(bn.runningVariance.value)).toEqual(values(twin.runningVariance.value));
      }
    });
  });

  it('refuses what does not fit', () => {
    tidy(() => {
      const x = normal([2, 3, 4], 1);
      expect(() => ops.batchNorm(x, positive([4], 1), positive([3], 1))).toThrow(/Expected float64 \[3\] for weight but received/);
      expect(() => ops.batchNorm(x, positive([3], 1), tensor([1, 2, 3]))).toThrow(/for bias but received float32/);
      expect(() => ops.batchNorm(x, positive([3], 1), positive([3], 1), { epsilon: -1 })).toThrow(/for epsilon but received -1/);
      expect(() => ops.batchNorm(positive([3], 1), positive([3], 1), positive([3], 1))).toThrow(/\[n, channels, ...\]/);
      expect(() => ops.channelAffine(x, positive([2], 1), positive([3], 1), positive([3], 1))).toThrow(/for mean/);
      expect(() => ops.layerNorm(x, positive([3, 5], 1), positive([3, 5], 1))).toThrow(/Expected float64 \[3, 4\] for weight/);
      expect(() => ops.layerNorm(x, normal([1, 2, 3, 4], 1), normal([1, 2, 3, 4], 1))).toThrow(/rank 1 to 3/);
    });
  });
});

describe('softmax', () => {
  it('gives lines of -Infinity and NaN to themselves alone', () => {
    tidy(() => {
      const x = tensor([
        [0, Number.NEGATIVE_INFINITY, 0],
        [Number.NaN, 1, 2],
        [1, 1, 1],
      ]);
      for (const [axis, order] of [
        [1, [0, 1]],
        [0, [1, 0]],
      ] as const) {
        const y = ops.transpose(ops.softmax(ops.transpose(x, order), axis), order);
        const rows = [0, 1, 2].map((i) => values(y).slice(3 * i, 3 * i + 3));
        expect(rows[0]).toEqual([0.5, 0, 0.5]);
        expect(rows[1]!.every(Number.isNaN)).toBe(true);
        rows[2]!.forEach((v) => {
          expect(v).toBeCloseTo(1 / 3, 6);
        });
      }
      for (const shape of [[3], [3, 1], [3, 20]]) {
        const infinite = ops.broadcastTo(ops.reshape(tensor([0, Number.POSITIVE_INFINITY, 1]), [3, ...shape.slice(1).map(() => 1)]), shape);
        expect(new Set(values(ops.logSumExp(infinite, { axis: 0 })))).toEqual(new Set([Number.POSITIVE_INFINITY]));
      }
      expect(ops.logSumExp(tensor([Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY])).item()).toBe(Number.NEGATIVE_INFINITY);
    });
  });

  it('does not lose small losses to the rounding of large logits', () => {
    tidy(() => {
      const label = tensor([0], { dtype: 'int32' });
      // log(1 + e^-12) = 6.1e-6, a few units in the last place of the logit: their difference would be off by a tenth.
      const loss = ops.crossEntropy(tensor([[20, 8]]), label).item();
      expect(Math.abs(loss / Math.log1p(Math.exp(-12)) - 1)).toBeLessThan(2e-2);
      expect(ops.crossEntropy(tensor([[2000, 0]]), label).item()).toBe(0);
    });
  });
});

describe('max pooling', () => {
  it('gives the derivative to the first of equal values, and lets NaN win', () => {
    tidy(() => {
      const x = tensor([
        [0, 0, 5, 5],
        [0, 0, 1, 5],
      ]);
      const gradient = grad((z: Tensor) => ops.sum(ops.maxPool2d(z, { size: 2 })))(x);
      expect(gradient.toArray()).toEqual([
        [1, 0, 1, 0],
        [0, 0, 0, 0],
      ]);
      const y = ops.maxPool2d(tensor([[1, Number.NaN, 2, 3]]), { size: [1, 2] });
      expect(values(y)).toEqual([Number.NaN, 3]);
    });
  });
});
