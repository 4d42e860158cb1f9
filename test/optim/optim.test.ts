/** Optimisers against their formulas, projections, schedules, clipping, averages, and their state. */
import { describe, expect, it } from 'vitest';
import { memory, nn, ops, optim, type Tensor, tensor, tidy } from '../../src/index.js';
import { normal, values } from '../support/numeric.js';

const START = [0.5, -1, 2];
const make = (): { w: nn.Parameter; params: Map<string, nn.Parameter> } => {
  const w = new nn.Parameter(tensor(START, { dtype: 'float64' }));
  return { w, params: new Map([['w', w]]) };
};
/** A fixed sequence of gradients. */
const gradient = (k: number): number[] => START.map((_, i) => Math.sin(3 * k + i) + 0.1 * i);
const run = (optimizer: optim.Optimizer, steps: number, from = 0): void => {
  for (let k = from; k < from + steps; k++) tidy(() => optimizer.step(new Map([['w', tensor(gradient(k), { dtype: 'float64' })]])));
};
const close = (got: number[], want: number[]): void =>
  got.forEach((v, i) => {
    expect(v).toBeCloseTo(want[i] as number, 12);
  });

describe('optimisers', () => {
  for (const decoupled of [false, true]) {
    it(`Adam${decoupled ? 'W' : ''} follows its formula`, () => {
      const { w, params } = make();
      const settings = { learningRate: 0.05, betas: [0.8, 0.95] as const, epsilon: 1e-6, weightDecay: 0.1 };
      run(decoupled ? new optim.AdamW(params, settings) : new optim.Adam(params, settings), 7);
      const want = START.map((start, i) => {
        let [x, m, v] = [start, 0, 0];
        for (let k = 0; k < 7; k++) {
          let g = gradient(k)[i] as number;
          if (decoupled) x -= 0.05 * 0.1 * x;
          else g += 0.1 * x;
          m = 0.8 * m + 0.2 * g;
          v = 0.95 * v + 0.05 * g * g;
          x -= (0.05 * m) / (1 - 0.8 ** (k + 1)) / (Math.sqrt(v / (1 - 0.95 ** (k + 1))) + 1e-6);
        }
        return x;
      });
      close(values(w.value), want);
    });
  }

  for (const [momentum, nesterov] of [
    [0, false],
    [0.9, false],
    [0.9, true],
  ] as const) {
    it(`SGD with momentum ${momentum}${nesterov ? ', Nesterov' : ''} follows its formula`, () => {
      const { w, params } = make();
      run(new optim.SGD(params, { learningRate: 0.1, momentum, nesterov, weightDecay: 0.01 }), 6);
      const want = START.map((start, i) => {
        let [x, v] = [start, 0];
        for (let k = 0; k < 6; k++) {
          const g = (gradient(k)[i] as number) + 0.01 * x;
          v = momentum * v + g;
          x -= 0.1 * (nesterov ? g + momentum * v : v);
        }
        return x;
      });
      close(values(w.value), want);
    });
  }

  it.each(['float32', 'float64'] as const)('clip by the global norm as clipByGlobalNorm does: %s', (dtype) => {
    tidy(() => {
      // Of both dtypes together, and more of them than a launch on the GPU takes.
      const make = (): Map<string, nn.Parameter> =>
        new Map(
          Array.from({ length: 90 }, (_, k) => [
            `p${k}`,
            new nn.Parameter(ops.cast(normal([k % 7 || 5000], k + 1), k === 3 ? 'float64' : dtype)),
          ]),
        );
      const gradients = new Map([...make()].map(([name, { value }], k) => [name, ops.mul(value, k === 5 ? 3 : 0.5)]));
      const norm = optim.globalNorm(gradients);
      expect(norm).toBeCloseTo(Math.hypot(...[...gradients.values()].flatMap(values)), 6);
      for (const limit of [norm / 7, norm * 2]) {
        for (const groups of [[], [{ match: /^p1/, learningRateScale: 0.1, weightDecay: 0.2 }]]) {
          const [a, b] = [make(), make()];
          const [one, two] = [a, b].map((parameters) => new optim.Adam(parameters, { learningRate: 0.1, epsilon: 1e-3, groups })) as [
            optim.Adam,
            optim.Adam,
          ];
          for (let k = 0; k < 3; k++) {
            one.step(gradients, { clipNorm: limit });
            two.step(optim.clipByGlobalNorm(gradients, limit).gradients);
          }
          for (const [name, { value }] of a) {
            const other = values(b.get(name)!.value);
            const worst = values(value).reduce((most, v, i) => Math.max(most, Math.abs(v - (other[i] as number))), 0);
            expect(worst).toBeLessThan(dtype === 'float32' ? 1e-6 : 1e-12);
          }
        }
      }
      expect(() => new optim.SGD(make()).step(gradients, { clipNorm: 0 })).toThrow('Expected a number > 0 for clipNorm but received 0');
      expect(optim.globalNorm(new Map())).toBe(0);
      expect(() => optim.globalNorm(new Map([['i', tensor(Int32Array.of(1))]]))).toThrow(
        'Expected float32 or float64 for the gradient of i but received int32',
      );
    });
  });

  it('leave nothing behind, also without a parameter to train', () => {
    const { w, params } = make();
    const before = memory().tensors;
    const adam = new optim.Adam(params);
    run(adam, 3);
    tidy(() => adam.step(new Map([['w', tensor(gradient(0), { dtype: 'float64' })]]), { clipNorm: 0.1 }));
    adam.dispose();
    expect(memory().tensors).toBe(before);
    w.trainable = false;
    const idle = new optim.SGD(params);
    idle.step(new Map(), { clipNorm: 1 });
    expect([idle.stepCount, values(w.value).length]).toEqual([1, 3]);
  });

  it('continue from their saved state', () => {
    const [a, b] = [make(), make()];
    const straight = new optim.Adam(a.params);
    run(straight, 6);
    const first = new optim.Adam(b.params);
    run(first, 3);
    const second = new optim.Adam(b.params);
    second.loadState(first.state());
    run(second, 3, 3);
    expect(values(b.w.value)).toEqual(values(a.w.value));
    expect(second.stepCount).toBe(6);
    expect(() => second.loadState({ step: 1, tensors: new Map() })).toThrow(/m\.w but received none/);
  });

  it('check gradients before anything changes, and their settings', () => {
    const { w, params } = make();
    const adam = new optim.Adam(params);
    expect(() => adam.step(new Map())).toThrow(/^Expected a gradient float64 \[3\] for w but received none/);
    expect(() => adam.step(new Map([['w', tensor([1, 2], { dtype: 'float64' })]]))).toThrow(/received float64 \[2\]/);
    expect(values(w.value)).toEqual(START);
    expect(() => new optim.Adam(params, { learningRate: -1 })).toThrow(/learningRate/);
    expect(() => new optim.SGD(params, { nesterov: true })).toThrow(/momentum > 0/);
    expect(() => new optim.Adam(params, { groups: [{ match: /nothing/ }] })).toThrow(/matches none/);
  });

  it('groups scale the rate, replace the decay and project', () => {
    const [plain, grouped] = [make(), make()];
    run(new optim.SGD(plain.params, { learningRate: 0.05 }), 1);
    run(
      new optim.SGD(grouped.params, {
        learningRate: 0.1,
        weightDecay: 5,
        groups: [{ match: /w/, learningRateScale: 0.5, weightDecay: 0, project: optim.projections.clamp(-0.5, 0.6) }],
      }),
      1,
    );
    close(
      values(grouped.w.value),
      values(plain.w.value).map((v) => Math.min(0.6, Math.max(-0.5, v))),
    );
  });
});

describe('projections', () => {
  it('zero mean and unit ball per output channel', () => {
    tidy(() => {
      const w = normal([4, 2, 3, 3], 1, 2);
      const projected = optim.projections.compose(optim.projections.zeroMean(), optim.projections.normBall(1))(w);
      values(ops.mean(projected, { axes: [1, 2, 3] })).forEach((m) => {
        expect(Math.abs(m)).toBeLessThan(1e-15);
      });
      values(ops.sum(ops.square(projected), { axes: [1, 2, 3] })).forEach((n) => {
        expect(n).toBeLessThanOrEqual(1 + 1e-12);
      });
      const small = ops.mul(w, 1e-3);
      expect(values(optim.projections.normBall(1)(small))).toEqual(values(small));
      expect(values(optim.projections.normBall(1)(ops.mul(w, 0)))).toEqual(values(ops.mul(w, 0)));
    });
  });
});

describe('schedules', () => {
  it('step, cosine, warm-up, plateau', () => {
    const { schedules } = optim;
    expect([0, 9, 10, 25].map((k) => schedules.stepDecay(10, 0.1)(k, 0))).toEqual([1, 1, 0.1, 0.1 ** 2]);
    expect([0, 0.5, 1].map((p) => schedules.cosine(0.2)(0, p))).toEqual([1, 0.2 + 0.8 * 0.5 * (1 + Math.cos(Math.PI / 2)), 0.2]);
    expect([0, 3, 9].map((k) => schedules.warmUp(4)(k, 0))).toEqual([0.25, 1, 1]);
    const plateau = new schedules.Plateau({ patience: 1, factor: 0.5 });
    expect([3, 2, 2, 2, 2, 1].map((v) => plateau.report(v))).toEqual([1, 1, 1, 0.5, 0.5, 0.5]);
    expect(plateau.schedule(0, 0)).toBe(0.5);
    // A value must fall by the threshold to count; what is no number never does; the floor holds.
    const strict = new schedules.Plateau({ patience: 0, factor: 0.5, threshold: 0.1, floor: 0.2 });
    expect([10, 9.5, 8, Number.NaN, 7.9].map((v) => strict.report(v))).toEqual([1, 0.5, 0.5, 0.25, 0.2]);
    const copy = new schedules.Plateau({ patience: 0, factor: 0.5, threshold: 0.1 });
    copy.state = strict.state;
    expect(copy.report(7.9)).toBe(0.1);
    expect(schedules.warmUp(10, schedules.stepDecay(4, 0.5))(6, 0)).toBeCloseTo(0.7 * 0.5, 12);
  });

  it('refuse settings outside their range', () => {
    const { schedules } = optim;
    expect(() => schedules.stepDecay(0, 0.5)).toThrow(/^Expected a number >= 1 for every but received 0$/);
    expect(() => schedules.stepDecay(5, 0)).toThrow(/factor/);
    expect(() => schedules.cosine(2)).toThrow(/floor/);
    expect(() => schedules.warmUp(-1)).toThrow(/steps/);
    expect(() => new schedules.Plateau({ factor: 1 })).toThrow(/factor/);
    expect(() => new schedules.Plateau({ patience: 0.5 })).toThrow(/patience/);
    expect(() => new schedules.Plateau({ threshold: 1 })).toThrow(/threshold/);
    expect(() => new schedules.Plateau({ floor: -1 })).toThrow(/floor/);
  });
});

describe('gradients', () => {
  it('clipping, accumulation', () => {
    tidy(() => {
      const gradients = new Map([
        ['a', tensor([3])],
        ['b', tensor([4])],
      ]);
      expect(optim.globalNorm(gradients)).toBe(5);
      const clipped = optim.clipByGlobalNorm(gradients, 1);
      expect(clipped.norm).toBe(5);
      expect(values(clipped.gradients.get('b') as Tensor)[0]).toBeCloseTo(0.8, 6);
      expect(optim.clipByGlobalNorm(gradients, 10).gradients.get('a')!.item()).toBe(3);
      const accumulator = new optim.GradientAccumulator();
      accumulator.add(gradients);
      accumulator.add(
        new Map([
          ['a', tensor([5])],
          ['b', tensor([0])],
        ]),
      );
      const mean = accumulator.take();
      expect([mean.get('a')!.item(), mean.get('b')!.item(), accumulator.count]).toEqual([4, 2, 0]);
    });
  });

  it('moving average of weights', () => {
    const { w, params } = make();
    const before = memory().tensors;
    const average = new optim.MovingAverage(params, 0.5);
    w.value.dataSync()[0] = 1.5;
    average.update();
    expect(average.apply(() => values(w.value)[0])).toBe(1);
    expect(values(w.value)[0]).toBe(1.5);
    average.dispose();
    expect(memory().tensors).toBe(before);
  });
});
