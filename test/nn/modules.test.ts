/** Modules: state, names, layers against their formulas, normalisation in training and use. */
import { describe, expect, it } from 'vitest';
import { Generator, memory, nn, ops, type Tensor, tensor, tidy } from '../../src/index.js';
import { normal, values } from '../support/numeric.js';

const f32 = (shape: number[], seed: number): Tensor => ops.cast(normal(shape, seed), 'float32');
const near = (a: Tensor, b: Tensor, digits = 4): void => {
  expect(a.shape).toEqual(b.shape);
  values(a).forEach((v, i) => {
    expect(v).toBeCloseTo(values(b)[i] as number, digits);
  });
};

const net = (): nn.Sequential =>
  new nn.Sequential(
    new nn.Conv2d({ inChannels: 2, outChannels: 4, kernelSize: 3, padding: 'same' }),
    new nn.BatchNorm2d({ channels: 4 }),
    new nn.ReLU(),
    new nn.Conv2d({ inChannels: 4, outChannels: 1, kernelSize: 1, bias: false }),
  );

describe('Module', () => {
  it('names parameters and buffers by path, counts them, and prints a summary', () => {
    const model = net();
    expect([...model.stateDict().keys()]).toEqual([
      'layers.0.weight',
      'layers.0.bias',
      'layers.1.weight',
      'layers.1.bias',
      'layers.3.weight',
      'layers.1.runningMean',
      'layers.1.runningVariance',
    ]);
    expect(model.parameterCount).toBe(2 * 4 * 9 + 4 + 8 + 4);
    const text = nn.summary(model);
    expect(text).toContain('layers.0  Conv2d');
    expect(text.split('\n').at(-1)).toBe('total'.padEnd(text.indexOf('trained')) + String(model.parameterCount));
  });

  it('loads a state dict strictly, and changes nothing when it does not fit', () => {
    const [a, b] = [net(), net()];
    const x = f32([1, 2, 5, 5], 1);
    b.loadStateDict(a.stateDict());
    expect(values(b.eval().forward(x))).toEqual(values(a.eval().forward(x)));
    const state = new Map(a.stateDict());
    state.delete('layers.0.bias');
    state.set('extra', tensor([1]));
    expect(() => b.loadStateDict(state)).toThrow(/missing layers\.0\.bias; unexpected extra/);
    const wrong = new Map(a.stateDict()).set('layers.0.bias', tensor([1]));
    const before = values(b.forward(x));
    expect(() => b.loadStateDict(wrong)).toThrow(/^Expected float32 \[4\] for layers\.0\.bias but received float32 \[1\]/);
    expect(values(b.forward(x))).toEqual(before);
  });

  it('gives gradients by name, leaves parameters as they were, and keeps the memory flat', () => {
    const model = net();
    const x = f32([2, 2, 6, 6], 2);
    const step = (): string[] => tidy(() => [...nn.valueAndGrad(model, () => ops.mean(ops.square(model.forward(x)))).gradients.keys()]);
    expect(step()).toEqual([...model.namedParameters().keys()]);
    const before = memory();
    for (let i = 0; i < 20; i++) step();
    expect(memory().tensors).toBe(before.tensors);
    expect(memory().blocks).toBe(before.blocks);
    expect(() =>
      nn.valueAndGrad(model, () => {
        throw new Error('x');
      }),
    ).toThrow('x');
    expect(model.namedParameters().get('layers.0.weight')!.value.size).toBe(72);
    expect(values(model.namedParameters().get('layers.0.weight')!.value).every(Number.isFinite)).toBe(true);
  });

  it('gradients of a network agree with central differences in float64', () => {
    tidy(() => {
      const model = net();
      for (const slot of [...model.namedParameters().values(), ...model.namedBuffers().values()])
        slot.value = ops.cast(slot.value, 'float64');
      const x = normal([3, 2, 4, 4], 3);
      const loss = (): Tensor => ops.sum(ops.tanh(model.forward(x)));
      const { gradients } = nn.valueAndGrad(model, loss);
      for (const [name, p] of model.namedParameters()) {
        const direction = normal(p.value.shape, 4);
        const original = p.value;
        const at = (h: number): number => {
          p.value = ops.add(original, ops.mul(direction, h));
          const value = loss().item();
          p.value = original;
          return value;
        };
        const analytic = ops.sum(ops.mul(gradients.get(name) as Tensor, direction)).item();
        expect(Math.abs(analytic - (at(1e-5) - at(-1e-5)) / 2e-5), name).toBeLessThan(1e-6 * Math.max(1, Math.abs(analytic)));
      }
    });
  });
});

describe('layers', () => {
  it('convolutions and linear layers', () => {
    tidy(() => {
      const x = f32([2, 4, 9], 5);
      const conv = new nn.Conv1d({ inChannels: 4, outChannels: 6, kernelSize: 3, stride: 2, padding: 1, groups: 2 });
      near(
        conv.forward(x),
        ops.add(
          ops.conv1d(x, conv.weight.value, { stride: 2, padding: 1, groups: 2 }),
          ops.reshape((conv.bias as nn.Parameter).value, [1, 6, 1]),
        ),
      );
      const up = new nn.ConvTranspose2d({ inChannels: 4, outChannels: 3, kernelSize: 2, stride: 2 });
      expect(up.forward(f32([1, 4, 5, 6], 6)).shape).toEqual([1, 3, 10, 12]);
      const linear = new nn.Linear({ inFeatures: 9, outFeatures: 5 });
      near(linear.forward(x), ops.add(ops.matmul(x, ops.transpose(linear.weight.value)), (linear.bias as nn.Parameter).value));
      expect(() => new nn.Conv2d({ inChannels: 3, outChannels: 4, kernelSize: 3, groups: 2 })).toThrow(/groups/);
    });
  });

  it('batch norm: batch statistics in training, running ones in use', () => {
    tidy(() => {
      const bn = new nn.BatchNorm2d({ channels: 3, momentum: 0.5 });
      const x = ops.add(ops.mul(f32([4, 3, 5, 5], 7), 3), 2);
      const y = bn.forward(x);
      const axes = [0, 2, 3];
      values(ops.mean(y, { axes })).forEach((m) => {
        expect(m).toBeCloseTo(0, 4);
      });
      values(ops.variance(y, { axes })).forEach((v) => {
        expect(v).toBeCloseTo(1, 3);
      });
      near(bn.runningMean.value, ops.mul(ops.mean(x, { axes }), 0.5));
      near(bn.runningVariance.value, ops.add(0.5, ops.mul(ops.variance(x, { axes }), (0.5 * 100) / 99)));
      bn.eval();
      const z = bn.forward(x);
      const spread = (v: Tensor): Tensor => ops.reshape(v, [1, 3, 1, 1]);
      near(z, ops.div(ops.sub(x, spread(bn.runningMean.value)), ops.sqrt(ops.add(spread(bn.runningVariance.value), 1e-5))));
      expect(() => bn.forward(f32([1, 2, 3, 3], 8))).toThrow(/3 channels/);
      const ln = new nn.LayerNorm({ shape: [5] });
      near(ops.mean(ln.forward(x), { axes: -1 }), ops.mul(ops.mean(x, { axes: -1 }), 0));
    });
  });

  it('activations and fluxes', () => {
    tidy(() => {
      const x = f32([2, 3, 4], 9);
      near(new nn.LeakyReLU({ slope: 0.2 }).forward(x), ops.select(ops.compare.gt(x, 0), x, ops.mul(x, 0.2)));
      const pm = new nn.PeronaMalik({ channels: 3, contrast: 0.5 });
      near(pm.forward(x), ops.div(x, ops.add(ops.mul(ops.square(x), 4), 1)));
      const ch = new nn.Charbonnier({ channels: 3, contrast: 2, shared: true });
      near(ch.forward(x), ops.div(x, ops.sqrt(ops.add(ops.mul(ops.square(x), 0.25), 1))));
      expect([pm.parameterCount, ch.parameterCount]).toEqual([3, 1]);
      for (const module of [new nn.Tanh(), new nn.Sigmoid(), new nn.Softplus(), new nn.ReLU()])
        expect(module.forward(x).shape).toEqual(x.shape);
    });
  });

  it('fluxes have derivatives in their contrast and refuse other channels', () => {
    tidy(() => {
      const x = normal([2, 3, 5], 11);
      for (const Flux of [nn.PeronaMalik, nn.Charbonnier]) {
        for (const shared of [false, true]) {
          const flux = new Flux({ channels: 3, contrast: 0.7, shared });
          const raw = flux.rawContrast;
          raw.value = ops.cast(raw.value, 'float64');
          const loss = (): Tensor => ops.sum(ops.mul(flux.forward(x), normal([2, 3, 5], 12)));
          const analytic = values(nn.valueAndGrad(flux, loss).gradients.get('rawContrast')!);
          const original = raw.value;
          analytic.forEach((slope, i) => {
            const at = (h: number): number => {
              const moved = values(original);
              moved[i]! += h;
              raw.value = tensor(moved, { dtype: 'float64' });
              const value = loss().item();
              raw.value = original;
              return value;
            };
            expect(Math.abs(slope - (at(1e-5) - at(-1e-5)) / 2e-5)).toBeLessThan(1e-8);
          });
          expect(analytic).toHaveLength(shared ? 1 : 3);
        }
        expect(new Flux({ channels: 3, trainable: false }).parameterCount).toBe(0);
        expect(() => new Flux({ channels: 3 }).forward(f32([2, 2, 4], 1))).toThrow(/^Expected a tensor with 3 channels for x/);
        expect(() => new Flux({ channels: 3, contrast: 0 })).toThrow(/contrast/);
      }
    });
  });

  it('orthogonal weights: orthonormal rows, or columns where there are fewer of them', () => {
    tidy(() => {
      for (const shape of [
        [4, 3, 3, 3],
        [6, 2, 1, 1],
        [5, 5],
      ]) {
        const w = ops.reshape(nn.init.orthogonal(shape, { gain: 2, generator: new Generator(3) }), [shape[0] as number, -1]);
        const [rows, columns] = w.shape as [number, number];
        const gram = ops.matmul(w, w, rows <= columns ? { transposeB: true } : { transposeA: true });
        const n = Math.min(rows, columns);
        gram.dataSync().forEach((v, i) => {
          expect(Math.abs(v - (i % n === Math.floor(i / n) ? 4 : 0))).toBeLessThan(1e-5);
        });
      }
    });
  });

  it('initialisers have the spread of their formulas', () => {
    tidy(() => {
      const shape = [40, 30, 3, 3];
      const [fanIn, fanOut] = [270, 360];
      const spread = (w: Tensor): { mean: number; std: number; largest: number } => {
        const all = values(w);
        const mean = all.reduce((s, v) => s + v, 0) / all.length;
        return {
          mean,
          std: Math.sqrt(all.reduce((s, v) => s + (v - mean) ** 2, 0) / all.length),
          largest: Math.max(...all.map(Math.abs)),
        };
      };
      const generator = (): Generator => new Generator(4);
      for (const [w, std, bounded] of [
        [nn.init.kaimingUniform(shape, { generator: generator() }), Math.sqrt(2 / fanIn), true],
        [nn.init.kaimingUniform(shape, { a: Math.sqrt(5), generator: generator() }), 1 / Math.sqrt(3 * fanIn), true],
        [nn.init.kaimingNormal(shape, { generator: generator() }), Math.sqrt(2 / fanIn), false],
        [nn.init.glorotUniform(shape, { gain: 2, generator: generator() }), 2 * Math.sqrt(2 / (fanIn + fanOut)), true],
        [nn.init.glorotNormal(shape, { generator: generator() }), Math.sqrt(2 / (fanIn + fanOut)), false],
        [nn.init.normal(shape, { std: 0.3, generator: generator() }), 0.3, false],
      ] as const) {
        const seen = spread(w);
        // Ten thousand numbers: five standard errors.
        expect(Math.abs(seen.mean)).toBeLessThan((5 * std) / Math.sqrt(10_800));
        expect(Math.abs(seen.std / std - 1)).toBeLessThan(5 / Math.sqrt(2 * 10_800));
        if (bounded) expect(seen.largest).toBeLessThanOrEqual(Math.sqrt(3) * std * (1 + 1e-6));
        else expect(seen.largest).toBeGreaterThan(3 * std);
      }
      expect(values(nn.init.constant([2, 2], 7))).toEqual([7, 7, 7, 7]);
      const conv = new nn.Conv2d({ inChannels: 2, outChannels: 3, kernelSize: 3, init: (s) => nn.init.constant(s, 0.5) });
      expect(new Set(values(conv.weight.value))).toEqual(new Set([0.5]));
      expect(() => nn.init.normal([2], { std: -1 })).toThrow(/std/);
    });
  });

  it('batch norm in one dimension is that of two with a height of one', () => {
    tidy(() => {
      const x = f32([4, 3, 7], 13);
      const [one, two] = [new nn.BatchNorm1d({ channels: 3 }), new nn.BatchNorm2d({ channels: 3 })];
      near(one.forward(x), ops.reshape(two.forward(ops.reshape(x, [4, 3, 1, 7])), [4, 3, 7]));
      near(one.runningVariance.value, two.runningVariance.value);
      expect(one.eval().forward(f32([5, 3], 14)).shape).toEqual([5, 3]);
      expect(() => one.forward(f32([1, 3, 2, 2], 1))).toThrow(/3 channels/);
    });
  });

  it('pooling and upsampling', () => {
    tidy(() => {
      const x = f32([1, 2, 4, 6], 10);
      near(new nn.AveragePool2d({ size: 2 }).forward(new nn.Upsample({ factor: 2 }).forward(x)), x);
      // Bilinear, corners aligned: ramps stay ramps.
      const ramp = ops.reshape(tensor([0, 1, 2, 10, 11, 12], { dtype: 'float64' }), [1, 1, 2, 3]);
      const larger = new nn.Upsample({ factor: 2, mode: 'bilinear', alignCorners: true }).forward(ramp);
      expect(larger.shape).toEqual([1, 1, 4, 6]);
      values(larger).forEach((v, i) => {
        expect(v).toBeCloseTo((10 * Math.floor(i / 6)) / 3 + (2 * (i % 6)) / 5, 6);
      });
      expect(() => new nn.Upsample({ factor: 1.5 })).toThrow(/factor/);
      expect(new nn.MaxPool2d({ size: 2 }).forward(x).shape).toEqual([1, 2, 2, 3]);
      near(new nn.GlobalAveragePool2d().forward(x), ops.mean(x, { axes: [2, 3] }));
    });
  });
});
