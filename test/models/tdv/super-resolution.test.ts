/** Super-resolution: the operator, the first guess, the scheme and its training (specification §11). */
import { afterEach, describe, expect, it } from 'vitest';
import { folderSource } from '../../../src/data/index.js';
import { inverse, models, nn, ops, seed, type Tensor, tidy } from '../../../src/index.js';
import { folderOfImages } from '../../support/image-folders.js';
import { normal, relativeError } from '../../support/numeric.js';
import { inFloat64 } from './float64.js';

const { downsampling, initialImage, startFrom, superResolutionTrainer, superResolve, VariationalNetwork } = models.tdv;

describe('super-resolution', () => {
  const made: models.tdv.VariationalNetwork[] = [];
  afterEach(() => {
    for (const network of made.splice(0)) network.dispose();
  });
  function make(options: models.tdv.NetworkOptions = {}): models.tdv.VariationalNetwork {
    seed(5);
    const network = new VariationalNetwork({ features: 3, macroBlocks: 1, steps: 2, scale: 3, ...options });
    made.push(network);
    return network;
  }

  it('starts nearer to the data than bicubic interpolation', () => {
    tidy(() => {
      const A = downsampling([18, 24], 3);
      expect([A.inputShape, A.outputShape]).toEqual([
        [18, 24],
        [6, 8],
      ]);
      const z = A.apply(normal([2, 1, 18, 24], 1));
      const misfit = (x: Tensor): number => relativeError(A.apply(x), z);
      expect(misfit(initialImage(A, z))).toBeLessThan(0.2 * misfit(inverse.bicubicResize([6, 8], { scale: 3 }).apply(z)));
    });
  });

  for (const scale of [2, 3, 4]) {
    it(`×${scale}: each step solves its proximal problem, and the last image explains the data`, () => {
      const network = inFloat64(make({ scale }));
      tidy(() => {
        const A = downsampling([12, 24], scale);
        const z = A.apply(normal([1, 1, 12, 24], 1));
        const states = network.states(z, {
          operator: A,
          initial: initialImage(A, z),
          conjugateGradients: { iterations: 50, tolerance: 1e-13 },
        });
        const { a, tau } = network.stepSizes();
        const [x, next] = [states[0] as Tensor, states[1] as Tensor];
        const pull = A.adjoint(ops.sub(A.apply(next), z));
        const residual = ops.add(ops.sub(next, ops.sub(x, ops.mul(network.R.gradient(x), a))), ops.mul(pull, tau));
        expect(relativeError(residual, ops.mul(residual, 0))).toBeLessThan(1e-10);
        // Seven steps of conjugate gradients are close to that.
        expect(relativeError(superResolve(network, A, z), states[2] as Tensor)).toBeLessThan(1e-3);
      });
    });
  }

  it('its gradients equal finite differences', () => {
    const network = inFloat64(make());
    tidy(() => {
      const A = downsampling([9, 12], 3);
      const y = normal([2, 1, 9, 12], 1);
      const z = A.apply(y);
      const run = (): Tensor =>
        network.run(z, { operator: A, initial: initialImage(A, z), conjugateGradients: { iterations: 60, tolerance: 1e-13 } });
      const loss = (): Tensor => ops.sum(ops.square(ops.sub(run(), y)));
      const { gradients } = nn.valueAndGrad(network, loss);
      for (const [name, parameter] of network.namedParameters()) {
        if (name !== 'T' && name !== 'lmbda' && name !== 'R.K1.weight') continue;
        const original = parameter.value;
        const direction = normal(original.shape, 4);
        const size = 1e-4 * Math.max(1, Math.abs(ops.sum(original).item()));
        const at = (h: number): number =>
          tidy(() => {
            parameter.value = ops.add(original, ops.mul(direction, h));
            return loss().item();
          });
        const slope = (at(size) - at(-size)) / (2 * size);
        parameter.value = original;
        const want = ops.sum(ops.mul(gradients.get(name) as Tensor, direction)).item();
        expect(Math.abs(slope - want)).toBeLessThan(1e-5 * Math.abs(want) + 1e-9);
      }
    });
  });

  it('learns, from the weights of a denoiser, and logs what it learns', async () => {
    const first = make({ scale: 1 });
    tidy(() => first.T.value.assign(ops.mul(first.T.value, 5)));
    const network = make({ features: 3 });
    startFrom(network, first);
    expect(network.T.value.item()).toBeCloseTo(0.005, 6);
    expect(network.lmbda!.value.item()).toBe(300);
    expect([...network.R.KN.weight.value.toTypedArray()]).toEqual([...first.R.KN.weight.value.toTypedArray()]);
    const source = await folderSource(await folderOfImages(2), { patchSize: 18, seed: 1, channels: 1 });
    const fixed = source.batch(0, 2);
    const trainer = superResolutionTrainer({
      model: network,
      source: { ...source, batch: () => fixed },
      batchSize: 2,
      steps: 12,
      learningRate: 0.01,
      schedule: () => 1,
    });
    const { history } = await trainer.run();
    trainer.dispose();
    expect(history[11]!.loss).toBeLessThan(history[0]!.loss);
    expect(history[11]!.metrics.psnr).toBeGreaterThan(history[0]!.metrics.psnr as number);
    expect(history[11]!.metrics).toMatchObject({ T: expect.any(Number), lambda: expect.any(Number) });
    expect(history[11]!.metrics.lambda).not.toBe(300);
  });

  it('refuses what does not fit', async () => {
    const network = make();
    tidy(() => {
      expect(() => downsampling([9, 10], 3)).toThrow('Expected sides that are multiples of 3 for size but received 9 x 10');
      expect(() => downsampling([9, 9], 1)).toThrow('Expected an integer >= 2 for scale but received 1');
      const A = downsampling([8, 8], 2);
      expect(() => superResolve(network, A, normal([1, 1, 4, 4], 1))).toThrow(
        "Expected an operator for the network's scale 3 but received one for 2",
      );
      expect(() => new VariationalNetwork({ scale: 1.5 })).toThrow('Expected an integer >= 1 for scale but received 1.5');
      expect(() => startFrom(make({ features: 4 }), network)).toThrow('[4, 1, 3, 3]');
    });
    const source = await folderSource(await folderOfImages(2), { patchSize: 16, seed: 1, channels: 1 });
    expect(() => superResolutionTrainer({ model: network, source, steps: 1 })).toThrow('Expected sides that are multiples of 3');
  });
});
