/** Exact properties of the regulariser, in float64 (specification §14). */
import { afterEach, describe, expect, it } from 'vitest';
import { grad, hvp, jvp, memory, models, ops, seed, type Tensor, tensor, tidy, vjp } from '../../../src/index.js';
import { dot, normal, relativeError } from '../../support/numeric.js';
import { inFloat64 } from './float64.js';

const { TotalDeepVariation } = models.tdv;

/** A network with weights that are large enough for every part to matter. */
function random(options: models.tdv.RegularizerOptions): models.tdv.TotalDeepVariation {
  seed(7);
  return inFloat64(new TotalDeepVariation({ features: 4, macroBlocks: 2, ...options }));
}

describe('total deep variation', () => {
  const made: models.tdv.TotalDeepVariation[] = [];
  const make = (options: models.tdv.RegularizerOptions = {}): models.tdv.TotalDeepVariation => {
    const R = random(options);
    made.push(R);
    return R;
  };
  afterEach(() => {
    for (const R of made.splice(0)) R.dispose();
  });

  for (const [channels, h, w, nu] of [
    [1, 12, 16, 1],
    [1, 9, 7, 9],
    [3, 5, 6, 1],
    [3, 13, 5, 2],
  ] as const) {
    it(`gradient, ${channels} channel(s) of ${h} × ${w}: by hand, by the engine, by differences`, () => {
      const R = make({ channels, nu, macroBlocks: channels === 3 ? 1 : 3 });
      tidy(() => {
        const [x, v] = [normal([2, channels, h, w], 1), normal([2, channels, h, w], 2)];
        const gradient = R.gradient(x);
        expect(relativeError(gradient, R.gradient(x, 'engine'))).toBeLessThan(1e-13);
        const step = 1e-5;
        const at = (t: number): number => ops.sum(R.energy(ops.add(x, ops.mul(v, t)))).item();
        const slope = (at(step) - at(-step)) / (2 * step);
        expect(Math.abs(dot(gradient, v) / slope - 1)).toBeLessThan(1e-7);
      });
    });
  }

  it('has a symmetric Hessian, the same by forward and by reverse mode', () => {
    const R = make();
    tidy(() => {
      const [x, u, v] = [normal([1, 1, 11, 14], 1), normal([1, 1, 11, 14], 2), normal([1, 1, 11, 14], 3)];
      const product = (d: Tensor): Tensor => jvp((y: Tensor) => R.gradient(y), [x] as const, [d] as const).tangent;
      expect(Math.abs(dot(u, product(v)) / dot(v, product(u)) - 1)).toBeLessThan(1e-11);
      const [reverse] = vjp((y: Tensor) => R.gradient(y), x).pullback(v);
      expect(relativeError(reverse, product(v))).toBeLessThan(1e-12);
      expect(
        relativeError(
          hvp((y: Tensor) => ops.sum(R.energy(y)), x, v),
          product(v),
        ),
      ).toBeLessThan(1e-12);
    });
  });

  it('has a mixed derivative in the weights equal to the engine’s', () => {
    const R = make({ macroBlocks: 1, features: 3 });
    tidy(() => {
      const [x, v] = [normal([1, 1, 8, 9], 1), normal([1, 1, 8, 9], 2)];
      const { weights } = R;
      const along = (w: models.tdv.Weights, by: 'hand' | 'engine'): Tensor => {
        const gradient = by === 'hand' ? models.tdv.energyGradient(w, x, 1) : grad((y: Tensor) => ops.sum(models.tdv.energy(w, y, 1)))(x);
        return ops.sum(ops.mul(gradient, v));
      };
      const [p, q] = [
        grad((w: models.tdv.Weights) => along(w, 'hand'))(weights),
        grad((w: models.tdv.Weights) => along(w, 'engine'))(weights),
      ];
      const leaves = (w: models.tdv.Weights): Tensor[] => [
        w.K,
        w.w,
        ...w.blocks.flatMap((b) => [...b.micro.flat().flatMap((m) => [m.K1, m.K2]), ...b.down, ...b.up]),
      ];
      leaves(p).forEach((g, i) => {
        expect(relativeError(g, leaves(q)[i] as Tensor)).toBeLessThan(1e-11);
      });
    });
  });

  it('gives energy and gradient from one pass, and as an energy to minimise', () => {
    const R = make();
    tidy(() => {
      const x = normal([2, 1, 9, 8], 1);
      const both = models.tdv.energyAndGradient(R.weights, x, 1);
      expect(relativeError(both.energy, R.energy(x))).toBeLessThan(1e-13);
      expect(relativeError(both.gradient, R.gradient(x))).toBeLessThan(1e-13);
      const energy = models.tdv.regularizerEnergy(R, 3);
      const plane = ops.reshape(ops.narrow(x, 0, 0, 1), [9, 8]);
      const { value, gradient } = energy.valueAndGradient(plane);
      expect(value.item()).toBeCloseTo(3 * (R.energy(x).toArray() as number[])[0]!, 11);
      expect(energy.value(plane).item()).toBeCloseTo(value.item(), 11);
      const first = ops.reshape(ops.narrow(R.gradient(x), 0, 0, 1), [9, 8]);
      expect(relativeError(gradient, ops.mul(first, 3))).toBeLessThan(1e-13);
    });
  });

  it('is the chain of its modules', () => {
    const R = make({ macroBlocks: 1 });
    tidy(() => {
      const x = normal([1, 1, 10, 7], 1);
      const block = R.mb[0] as models.tdv.MacroBlock;
      const chained = ops.mul(R.KN.forward(block.forward(R.K1.forward(x))), 1 / 4);
      expect(relativeError(chained, R.forward(x))).toBeLessThan(1e-13);
      const micro = block.mb[0]![0] as models.tdv.MicroBlock;
      const features = R.K1.forward(x);
      const inner = ops.logStudent(micro.conv1.forward(features), 1);
      expect(relativeError(micro.forward(features), ops.add(features, micro.conv2.forward(inner)))).toBeLessThan(1e-13);
      expect(block.conv_down[0]!.forward(features).shape).toEqual([1, 4, 5, 4]);
    });
  });

  it('treats the images of a batch by themselves', () => {
    const R = make();
    tidy(() => {
      const x = normal([3, 1, 10, 9], 4);
      const parts = [0, 1, 2].map((i) => R.gradient(ops.narrow(x, 0, i, i + 1)));
      expect(relativeError(ops.concat(parts, 0), R.gradient(x))).toBeLessThan(1e-13);
      expect(R.energy(x).shape).toEqual([3]);
      expect(R.forward(x).shape).toEqual([3, 1, 10, 9]);
    });
  });

  it('blurring first equals the convolution with the blurred kernel, 7 × 7 (specification §2.5)', () => {
    tidy(() => {
      const [x, k] = [normal([1, 3, 13, 10], 1), normal([3, 3, 3, 3], 2)];
      const [binomial, frame] = [
        ops.reshape(ops.mul(ops.matmul(column([1, 4, 6, 4, 1]), row([1, 4, 6, 4, 1])), 1 / 256), [1, 1, 5, 5]),
        [3, 3] as const,
      ];
      const composite = ops.reshape(ops.conv2d(ops.reshape(k, [9, 1, 3, 3]), binomial, { padding: 4 }), [3, 3, 7, 7]);
      const direct = ops.conv2d(ops.padMode(x, [frame, frame], 'symmetric'), composite, { stride: 2 });
      expect(relativeError(ops.conv2d(ops.scaleBlur(x), k, { stride: 2 }), direct)).toBeLessThan(1e-13);
    });
  });

  it('starts with filters K of mean zero on the unit sphere, and projectK keeps them in the ball', () => {
    const R = make({ channels: 3 });
    tidy(() => {
      const { K } = R.weights;
      const check = (value: Tensor, least: number): void => {
        for (let o = 0; o < 4; o++) {
          const filter = ops.narrow(value, 0, o, o + 1);
          expect(Math.abs(ops.sum(filter).item())).toBeLessThan(1e-6);
          const norm = Math.sqrt(ops.sum(ops.square(filter)).item());
          expect(norm).toBeLessThan(1 + 1e-6);
          expect(norm).toBeGreaterThan(least);
        }
      };
      check(K, 1 - 1e-6);
      check(models.tdv.projectK(ops.add(ops.mul(K, 3), 1)), 1 - 1e-6);
      check(models.tdv.projectK(ops.mul(K, 0.5)), 0.4);
    });
  });

  it('refuses wrong images and options, and leaks nothing', () => {
    const R = make();
    expect(() => R.gradient(normal([1, 1, 4, 9], 1))).toThrow('Expected images of at least 5 × 5 pixels for x but received 4 × 9');
    expect(() => R.energy(normal([1, 3, 9, 9], 1))).toThrow('Expected images [n, 1, height, width] for x but received shape [1, 3, 9, 9]');
    expect(() => new TotalDeepVariation({ macroBlocks: 0 })).toThrow('Expected an integer >= 1 for macroBlocks but received 0');
    expect(() => new TotalDeepVariation({ nu: -1 })).toThrow('Expected a finite number > 0 for nu but received -1');
    const x = normal([1, 1, 8, 8], 1);
    const before = memory().tensors;
    for (let k = 0; k < 3; k++) {
      R.gradient(x).dispose();
      R.gradient(x, 'engine').dispose();
    }
    expect(memory().tensors).toBe(before);
    x.dispose();
  });
});

const row = (v: number[]): Tensor => tensor([v], { dtype: 'float64' });
const column = (v: number[]): Tensor => ops.transpose(row(v));
