/** TVflowNET (specification §5, exact test 11). */
import { afterEach, describe, expect, it } from 'vitest';
import { data, models, nn, ops, seed, type Tensor, tensor, tidy } from '../../../src/index.js';
import { normal, relativeError, values } from '../../support/numeric.js';
import { inFloat64 } from '../tdv/float64.js';

const { flowLoss, predictImages, predictSeries, TVFlowNet } = models.tvflow;

describe('TVflowNET', () => {
  const made: models.tvflow.TVFlowNet[] = [];
  afterEach(() => {
    for (const network of made.splice(0)) network.dispose();
  });
  /** In float64, the last layer as large as the others so that everything has an effect. */
  function make(options: models.tvflow.NetworkOptions = {}, loud = true): models.tvflow.TVFlowNet {
    seed(5);
    const network = inFloat64(new TVFlowNet(options));
    made.push(network);
    if (loud) tidy(() => network.layers[7]!.weight.value.assign(ops.mul(network.layers[7]!.weight.value, 30)));
    return network;
  }

  it('has 14,659 weights in 8 layers of 16 channels', () => {
    const network = make();
    expect(network.parameterCount).toBe(14_659);
    expect(network.layers.map(({ weight }) => weight.value.shape.slice(0, 2))).toEqual([[16, 2], ...new Array(6).fill([16, 16]), [3, 16]]);
    for (const init of ['he-uniform', 'orthogonal'] as const) expect(make({ init }).parameterCount).toBe(14_659);
  });

  it('starts near u = f, and a network without offset is u = f', () => {
    const network = make({}, false);
    tidy(() => {
      const f = ops.add(normal([2, 9, 8], 1), 2);
      const start = network.predict(f, 0.3);
      expect(relativeError(start.u, f)).toBeLessThan(0.05);
      network.layers[7]!.weight.value.assign(ops.mul(network.layers[7]!.weight.value, 0));
      const { u, ut, phi } = network.predictWithDerivative(f, 0.3);
      expect(values(u)).toEqual(values(f));
      expect(values(ops.abs(ut)).every((v) => v === 0)).toBe(true);
      expect(values(ops.abs(phi)).every((v) => v === 0)).toBe(true);
    });
  });

  for (const options of [
    {},
    { activations: 'relu' },
    { activations: 'softplus', padding: 'reflect' },
    { centered: true, normalizePhi: true, phiBoundary: 'frame' },
  ] as models.tvflow.NetworkOptions[]) {
    const name = JSON.stringify(options);
    it(`the tangent is the derivative in time: ${name}`, () => {
      const network = make(options);
      tidy(() => {
        const f = normal([3, 7, 6], 1);
        const t = tensor([0.1, 0.5, 0.9], { dtype: 'float64' });
        const h = 1e-5;
        const difference = ops.div(ops.sub(network.predict(f, ops.add(t, h)).u, network.predict(f, ops.sub(t, h)).u), 2 * h);
        const { ut, u } = network.predictWithDerivative(f, t);
        expect(Math.max(...values(ops.abs(ut)))).toBeGreaterThan(1e-3);
        expect(relativeError(ut, difference)).toBeLessThan(1e-6);
        expect(relativeError(u, network.predict(f, t).u)).toBeLessThan(1e-13);
      });
    });

    it(`the gradient of the loss in the weights, through the tangent, is that of finite differences: ${name}`, () => {
      const network = make(options);
      tidy(() => {
        const f = normal([2, 6, 6], 1, 0.5);
        const t = tensor([0.2, 0.7], { dtype: 'float64' });
        const phiBoundary = network.options.phiBoundary;
        const loss = (): Tensor =>
          flowLoss({ ...network.predictWithDerivative(f, t), initial: network.predict(f, 0).u }, f, { phiBoundary, tvWeight: 1e-6 }).total;
        const { gradients } = nn.valueAndGrad(network, loss);
        const h = 1e-6;
        for (const [index, [path, { value }]] of [...network.namedParameters()].entries()) {
          const direction = normal(value.shape, 50 + index);
          const kept = tensor(value.toTypedArray(), { shape: value.shape });
          const at = (s: number): number => {
            value.assign(ops.add(kept, ops.mul(direction, s)));
            return tidy(() => loss().item());
          };
          const difference = (at(h) - at(-h)) / (2 * h);
          value.assign(kept);
          const slope = ops.sum(ops.mul(gradients.get(path) as Tensor, direction)).item();
          expect(Math.abs(slope - difference), path).toBeLessThan(2e-6 * Math.max(1, Math.abs(difference)));
        }
      });
    });
  }

  it('sees only the neighbourhood: sizes that no training had, each pixel as in a larger image', () => {
    const network = make();
    tidy(() => {
      const f = normal([40, 44], 1);
      const whole = network.predict(f, 0.4).u;
      const part = network.predict(ops.slice(f, [5, 8], [30, 27]), 0.4).u;
      // Eight layers reach eight pixels.
      expect(relativeError(ops.slice(part, [8, 8], [14, 11]), ops.slice(whole, [13, 16], [14, 11]))).toBeLessThan(1e-12);
      for (const shape of [
        [1, 1],
        [1, 9],
        [2, 3],
        [3, 5, 4],
      ])
        expect(network.predict(normal(shape, 2), 1).u.shape).toEqual(shape);
    });
  });

  it('normalises and bounds φ where asked', () => {
    tidy(() => {
      const f = normal([9, 8], 1, 5);
      const { phi } = make({ normalizePhi: true, phiBoundary: 'frame' }).predict(f, 0.5);
      const length = values(ops.sum(ops.square(phi), { axes: [0] }));
      expect(Math.max(...length)).toBeLessThanOrEqual(1 + 1e-12);
      expect(Math.max(...length)).toBeGreaterThan(0.5);
      length.forEach((v, k) => {
        const [i, j] = [Math.floor(k / 8), k % 8];
        if (i === 0 || i === 8 || j === 0 || j === 7) expect(v).toBe(0);
      });
    });
  });

  it('centred: adding a constant to f adds it to u', () => {
    tidy(() => {
      const f = normal([9, 8], 1);
      const network = make({ centered: true });
      const [a, b] = [network.predict(f, 0.5), network.predict(ops.add(f, 3), 0.5)];
      expect(relativeError(b.u, ops.add(a.u, 3))).toBeLessThan(1e-13);
      expect(relativeError(b.phi, a.phi)).toBeLessThan(1e-13);
    });
  });

  it('predicts many times at once, and pictures channel by channel', () => {
    seed(2);
    const network = new TVFlowNet();
    made.push(network);
    tidy(() => {
      // More pixels than one evaluation takes.
      const f = ops.cast(normal([2, 70, 80], 1), 'float32');
      const times = [0, 0.02, 0.3, 1, 0.5, 0.7, 0.8, 0.9];
      const { u, phi } = predictSeries(network, f, times);
      expect([u.shape, phi.shape]).toEqual([
        [8, 2, 70, 80],
        [8, 2, 2, 70, 80],
      ]);
      for (const [k, t] of times.entries()) {
        const one = network.predict(f, t);
        expect(relativeError(ops.reshape(ops.narrow(u, 0, k, k + 1), one.u.shape), one.u)).toBeLessThan(1e-6);
        expect(relativeError(ops.reshape(ops.narrow(phi, 0, k, k + 1), one.phi.shape), one.phi)).toBeLessThan(1e-6);
      }
      const image = data.deadLeaves({ height: 20, width: 24, channels: 3, seed: 1 });
      const [at] = predictImages(network, image, [0.4]);
      const blue = data.makeImage(1, 20, 24, data.plane(image, 2).slice());
      expect(at).toMatchObject({ channels: 3, height: 20, width: 24 });
      const alone = predictImages(network, blue, [0.4])[0]!;
      data.plane(at!, 2).forEach((v, i) => {
        expect(Math.abs(v - alone.data[i]!)).toBeLessThan(1e-6);
      });
    });
  });

  it('refuses what does not fit', () => {
    expect(() => new TVFlowNet({ activations: 'tanh' as 'relu' })).toThrow(
      "Expected 'relu+softplus', 'relu' or 'softplus' for activations but received tanh",
    );
    expect(() => new TVFlowNet({ scale: 0 })).toThrow('Expected a finite number > 0 for scale but received 0');
    expect(() => new TVFlowNet({ phiBoundary: 'open' as 'frame' })).toThrow(
      "Expected 'natural' or 'frame' for phiBoundary but received open",
    );
    const network = make();
    tidy(() => {
      const f = normal([2, 6, 6], 1);
      expect(() => network.predict(f, Number.NaN)).toThrow('Expected a finite time for t but received NaN');
      expect(() => network.predict(f, normal([3], 1))).toThrow(
        'Expected one time, or one for each of 2 images, for t but received shape [3]',
      );
      expect(() => network.predict(f, tensor([1, 2]))).toThrow('Expected float64 for t, as f has, but received float32');
      expect(() => network.predict(normal([4], 1), 1)).toThrow('Expected at least one pixel and 2 axes for f but received shape [4]');
      expect(() => make({ padding: 'reflect' }).predict(normal([1, 5], 1), 1)).toThrow('Expected images of at least 2 × 2 pixels for f');
      expect(() => predictSeries(network, f, [])).toThrow('Expected at least one time for times but received none');
      expect(() => predictSeries(network, f, [0, Number.POSITIVE_INFINITY])).toThrow(
        'Expected finite numbers for times but received Infinity',
      );
    });
  });
});
