/** The total-variation flow: closed forms, conservation, contraction, complementarity, the certified bound, degenerate inputs, refusals. */
import { describe, expect, it } from 'vitest';
import { grad, memory, ops, type Tensor, tensor, tidy, tv } from '../../src/index.js';
import { dot, normal, values } from '../support/numeric.js';

const worst = (a: Tensor, b: Tensor): number => values(ops.abs(ops.sub(a, b))).reduce((m, v) => Math.max(m, v), 0);
const rms = (a: Tensor, b: Tensor): number => Math.sqrt(ops.mean(ops.square(ops.sub(a, b))).item());
const norm = (x: Tensor): number => Math.sqrt(dot(x, x));
const at = (u: Tensor, k: number): Tensor => ops.reshape(ops.narrow(u, 0, k, k + 1), u.shape.slice(1));
const image = (height: number, width: number, value: (i: number, j: number) => number): Tensor =>
  tensor(
    Float64Array.from({ length: height * width }, (_, k) => value(Math.floor(k / width), k % width)),
    { shape: [height, width] },
  );
const isotropic = (u: Tensor): number => tv.totalVariation(u, { isotropic: true }).item();
const uniform = (count: number, end: number): number[] => Array.from({ length: count + 1 }, (_, k) => (k * end) / count);

/** Plateaus (level, width) of a piecewise constant line at time t: a local extremum moves at 2 / width (1 / width at the border), neighbours merge. */
function plateaus(start: readonly (readonly [number, number])[], time: number): number[] {
  let runs = start.map(([level, width]) => ({ level, width }));
  const speed = (k: number): number => {
    const { level, width } = runs[k] as { level: number; width: number };
    const sides = [runs[k - 1], runs[k + 1]].map((other) => (other === undefined ? 0 : Math.sign(other.level - level)));
    return (sides as [number, number])[0] / width + (sides as [number, number])[1] / width;
  };
  for (let left = time; left > 0 && runs.length > 1; ) {
    const speeds = runs.map((_, k) => speed(k));
    let advance = left;
    for (let k = 0; k + 1 < runs.length; k++) {
      const [a, b] = [runs[k] as { level: number }, runs[k + 1] as { level: number }];
      const closing = ((speeds[k] as number) - (speeds[k + 1] as number)) * Math.sign(b.level - a.level);
      if (closing > 0) advance = Math.min(advance, Math.abs(b.level - a.level) / closing);
    }
    runs.forEach((run, k) => {
      run.level += advance * (speeds[k] as number);
    });
    left -= advance;
    const merged: typeof runs = [];
    for (const run of runs) {
      const last = merged.at(-1);
      if (last !== undefined && Math.abs(last.level - run.level) < 1e-12) last.width += run.width;
      else merged.push({ ...run });
    }
    runs = merged;
  }
  return runs.flatMap(({ level, width }) => new Array<number>(width).fill(level));
}

describe('closed forms', () => {
  it('1D step: left c - t/a, right t/(N - a), until c a (N - a) / N; as a line, a row, a column and an image', () => {
    tidy(() => {
      const [n, a, c] = [64, 16, 1];
      const line = Float64Array.from({ length: n }, (_, i) => (i < a ? c : 0));
      const extinction = (c * a * (n - a)) / n;
      const times = [0, 1, 5, extinction, extinction + 3];
      const want = (t: number): number[] => Array.from(line, (_, i) => (t >= extinction ? (c * a) / n : i < a ? c - t / a : t / (n - a)));
      for (const shape of [[n], [1, n], [n, 1]]) {
        const { u, times: reached } = tv.flow(tensor(line, { shape }), { times });
        expect(u.shape).toEqual([5, ...shape]);
        expect([...reached]).toEqual(times);
        times.forEach((t, k) => {
          expect(worst(ops.reshape(at(u, k), [n]), tensor(want(t), { dtype: 'float64' }))).toBeLessThan(1e-12);
        });
      }
      // An image of equal rows, through the isotropic solver.
      const { u } = tv.flow(
        image(6, n, (_, j) => line[j] as number),
        { times: [1, 5, extinction + 1], step: 0.5, tolerance: 1e-9 },
      );
      [1, 5, extinction + 1].forEach((t, k) => {
        for (let i = 0; i < 6; i++)
          expect(worst(ops.reshape(ops.narrow(at(u, k), 0, i, i + 1), [n]), tensor(want(t), { dtype: 'float64' }))).toBeLessThan(2e-3);
      });
    });
  });

  it('piecewise constant lines: extrema move at 2 / width, monotone plateaus rest, equal neighbours merge', () => {
    tidy(() => {
      const start = [
        [1, 5],
        [3, 4],
        [2, 7],
        [2.5, 3],
        [0.5, 6],
        [0.7, 2],
        [4, 8],
        [-1, 5],
      ] as const;
      const f = tensor(
        start.flatMap(([level, width]) => new Array<number>(width).fill(level)),
        { dtype: 'float64' },
      );
      const times = [0.3, 1, 2, 4, 8, 20];
      const { u, errorBound } = tv.flow(f, { times });
      times.forEach((t, k) => {
        expect(worst(at(u, k), tensor(plateaus(start, t), { dtype: 'float64' }))).toBeLessThan(1e-12);
        expect(errorBound[k]?.[0]).toBe(0);
      });
    });
  });

  it('disc: the plateau falls at about 2 / r, the far background rises at 2πr / (A - πr²)', () => {
    tidy(() => {
      const errors = [
        [64, 16],
        [96, 24],
      ].map(([n, r]) => {
        const [size, radius, t] = [n as number, r as number, (r as number) / 16];
        const middle = (size - 1) / 2;
        const f = image(size, size, (i, j) => ((i - middle) ** 2 + (j - middle) ** 2 <= radius * radius ? 1 : 0));
        const got = values(tv.flow(f, { times: [t], step: t / 20 }).u);
        const rise = (2 * Math.PI * radius) / (size * size - Math.PI * radius * radius);
        expect(Math.abs((got[0] as number) / t / rise - 1)).toBeLessThan(0.06);
        return Math.abs((1 - (got[(size / 2) * (size + 1)] as number)) / t / (2 / radius) - 1);
      });
      expect(errors[0]).toBeLessThan(0.06);
      expect(errors[1]).toBeLessThan(0.85 * (errors[0] as number));
    });
  });

  it('square: the Cheeger set falls at (2 + √π) / s, edge midpoints with it, corners far faster', () => {
    tidy(() => {
      const [n, s, t] = [64, 24, 1];
      const low = (n - s) / 2;
      const high = low + s - 1;
      const f = image(n, n, (i, j) => (i >= low && i <= high && j >= low && j <= high ? 1 : 0));
      const got = values(tv.flow(f, { times: [t], step: 0.05 }).u);
      const pixel = (i: number, j: number): number => got[i * n + j] as number;
      const centre = pixel(32, 32);
      const want = 1 - ((2 + Math.sqrt(Math.PI)) / s) * t;
      expect(Math.abs(centre / want - 1)).toBeLessThan(0.01);
      for (const [i, j] of [
        [low, 32],
        [high, 32],
        [32, low],
        [32, high],
      ] as const)
        expect(Math.abs(pixel(i, j) - centre)).toBeLessThan(0.01);
      for (const [i, j] of [
        [low, low],
        [low, high],
        [high, low],
        [high, high],
      ] as const)
        expect(pixel(i, j)).toBeLessThan(centre - 0.3);
    });
  });
});

describe('properties of the flow', () => {
  const tight = { tolerance: 1e-11, maxIterations: 100_000 };

  it('is 1-homogeneous, moves with the grey level, turns with the sign, and keeps the mean', () => {
    tidy(() => {
      const f = normal([2, 13, 17], 1);
      for (const geometry of [{}, { isotropic: false }, { channels: 'coupled' as const }]) {
        const options = { ...tight, ...geometry, dual: true };
        const { u, phi } = tv.flow(f, { ...options, times: [0.1, 0.3], step: 0.1 });
        const scaled = tv.flow(ops.mul(f, 5), { ...options, times: [0.5, 1.5], step: 0.5 });
        expect(worst(scaled.u, ops.mul(u, 5))).toBeLessThan(2e-5);
        expect(worst(tv.flow(ops.add(f, 100), { ...options, times: [0.1, 0.3], step: 0.1 }).u, ops.add(u, 100))).toBeLessThan(1e-5);
        expect(worst(tv.flow(ops.neg(f), { ...options, times: [0.1, 0.3], step: 0.1 }).u, ops.neg(u))).toBeLessThan(1e-5);
        const mean = ops.mean(f, { axes: [-2, -1] });
        for (const k of [0, 1]) expect(worst(ops.mean(at(u, k), { axes: [-2, -1] }), mean)).toBeLessThan(1e-10);
        expect(Math.max(...values(ops.abs(ops.sum(ops.gradientAdjoint(phi as Tensor, 2), { axes: [-2, -1] }))))).toBeLessThan(1e-10);
      }
    });
  });

  it('is a contraction and a semigroup; energy, speed and range only fall', () => {
    tidy(() => {
      const [f, g] = [normal([16, 19], 2), normal([16, 19], 3)];
      const times = uniform(8, 0.8);
      const run = tv.flow(f, { times, step: 0.1, ...tight });
      const other = tv.flow(g, { times, step: 0.1, ...tight }).u;
      const distances = times.map((_, k) => norm(ops.sub(at(run.u, k), at(other, k))));
      const energies = times.map((_, k) => isotropic(at(run.u, k)));
      const speeds = times.slice(1).map((_, k) => norm(ops.sub(at(run.u, k + 1), at(run.u, k))) / 0.1);
      const highs = times.map((_, k) => Math.max(...values(at(run.u, k))));
      const lows = times.map((_, k) => -Math.min(...values(at(run.u, k))));
      for (const falling of [distances, energies, speeds, highs, lows])
        falling.slice(1).forEach((value, k) => {
          expect(value).toBeLessThanOrEqual((falling[k] as number) + 1e-5);
        });
      run.steps.forEach(({ variation }, k) => {
        expect(variation[0]).toBeCloseTo(energies[k + 1] as number, 8);
      });
      const half = tv.flow(at(run.u, 4), { times: [0.4], step: 0.1, ...tight }).u;
      expect(worst(at(half, 0), at(run.u, 8))).toBeLessThan(1e-5);
    });
  });

  it('complementarity after every step: |φ| <= 1, J(u) = -<u, div φ>, and u moved by λ div φ', () => {
    tidy(() => {
      const f = ops.mul(normal([2, 20, 24], 4), 2);
      for (const [options, allowed] of [
        [{}, 1e-3],
        [{ isotropic: false }, 1e-9],
        [{ method: 'chambolle', iterations: 500 }, 1e-2],
        [{ channels: 'coupled' }, 1e-3],
      ] as const) {
        for (const [timeConvention, factor] of [
          ['pde', 1],
          ['paper6', 0.5],
          ['gilboa', 2],
        ] as const) {
          const { u, phi, steps } = tv.flow(f, { endTime: 0.4, step: 0.1, dual: true, timeConvention, ...options });
          expect(steps.length).toBe(4);
          expect(phi?.shape).toEqual([5, 2, 2, 20, 24]);
          for (let k = 1; k <= 4; k++) {
            const [field, now] = [at(phi as Tensor, k), at(u, k)];
            const coupled = 'channels' in options;
            const lengths = 'isotropic' in options ? ops.abs(field) : ops.sqrt(ops.squaredLengths(field, { dims: 2, coupled }));
            expect(Math.max(...values(lengths))).toBeLessThanOrEqual(1 + 1e-6);
            const divergence = ops.neg(ops.gradientAdjoint(field, 2));
            const energy = steps[k - 1]?.variation.reduce((a, b) => a + b, 0) as number;
            expect(Math.abs(energy + dot(now, divergence))).toBeLessThanOrEqual(allowed * energy);
            expect(worst(ops.sub(now, at(u, k - 1)), ops.mul(divergence, 0.1 * factor))).toBeLessThan(1e-9);
          }
        }
      }
    });
  });

  it('a single step is the proximal map, in every time convention', () => {
    tidy(() => {
      const f = normal([12, 15], 5);
      for (const [timeConvention, lambda] of [
        ['pde', 0.2],
        ['paper6', 0.1],
        ['gilboa', 0.4],
      ] as const) {
        const step = { times: [0.2], step: 1, timeConvention };
        expect(worst(at(tv.flow(f, { ...step, ...tight }).u, 0), tv.rof(f, lambda, tight))).toBeLessThan(1e-5);
        expect(worst(at(tv.flow(f, { ...step, isotropic: false }).u, 0), tv.prox2d(f, lambda, { exact: true }))).toBeLessThan(1e-9);
      }
    });
  });

  it('the certified bound holds against a fine flow, and the chosen steps keep to the accuracy', () => {
    tidy(() => {
      const f = ops.add(
        normal([2, 24, 20], 6, 0.3),
        image(24, 20, (i, j) => (i > 8 && j > 5 ? 2 : 0)),
      );
      const times = [0.05, 0.2, 0.7];
      for (const isotropic of [true, false]) {
        const fine = tv.flow(f, { times, step: 0.002, tolerance: 1e-9, isotropic });
        const range = values(ops.sub(ops.max(f, { axes: [-2, -1] }), ops.min(f, { axes: [-2, -1] })));
        const check = (run: ReturnType<typeof tv.flow>, limit: number): void => {
          times.forEach((_, k) => {
            for (const b of [0, 1]) {
              const bound = run.errorBound[k]?.[b] as number;
              expect(rms(at(at(run.u, k), b), at(at(fine.u, k), b))).toBeLessThanOrEqual(bound + (fine.errorBound[k]?.[b] as number));
              expect(bound).toBeLessThanOrEqual(limit * (range[b] as number));
            }
          });
        };
        check(tv.flow(f, { times, step: 0.1, isotropic }), 0.05);
        const coarse = tv.flow(f, { times, accuracy: 3e-3, isotropic });
        const better = tv.flow(f, { times, accuracy: 1e-3, isotropic });
        check(coarse, 3e-3);
        check(better, 1e-3);
        expect(better.steps.length).toBeGreaterThan(coarse.steps.length);
        expect(better.steps.length).toBeLessThan(400);
      }
    });
  });

  it('float32 follows float64, and a batch is its images', () => {
    tidy(() => {
      const f = normal([3, 14, 15], 7);
      const { u } = tv.flow(f, { times: [0.1, 0.4], step: 0.1, tolerance: 1e-9 });
      const single = tv.flow(ops.cast(f, 'float32'), { times: [0.1, 0.4], step: 0.1 });
      expect(single.u.dtype).toBe('float32');
      expect(worst(ops.cast(single.u, 'float64'), u)).toBeLessThan(2e-3);
      const parts = ops.split(f, 3, 0).map((part) => tv.flow(part, { times: [0.1, 0.4], step: 0.1, tolerance: 1e-9 }).u);
      expect(values(ops.concat(parts, 1))).toEqual(values(u));
    });
  });

  it('Chambolle from the last dual agrees with the accelerated solver; lagged diffusivity is biased by its epsilon', () => {
    tidy(() => {
      const f = normal([16, 16], 8);
      const grid = { times: uniform(10, 0.2), step: 0.02 };
      const { u } = tv.flow(f, { ...grid, ...tight });
      const error = (options: Partial<Parameters<typeof tv.flow>[1]>): number => rms(tv.flow(f, { ...grid, ...options }).u, u);
      const warm = error({ method: 'chambolle', iterations: 50 });
      expect(warm).toBeLessThan(2e-3);
      expect(error({ method: 'chambolle', iterations: 50, warmStart: false })).toBeGreaterThan(1.2 * warm);
      const biases = [0.3, 0.03, 0.003].map((epsilon) => error({ method: 'lagged', epsilon }));
      expect(biases[1]).toBeLessThan((biases[0] as number) / 2);
      expect(biases[2]).toBeLessThan(biases[1] as number);
      const lagged = tv.flow(f, { ...grid, method: 'lagged', dual: true, tolerance: 1e-10 });
      expect(lagged.errorBound.at(-1)?.[0]).toBeNaN();
      // u moves by the flux that is returned
      const flux = ops.mul(ops.gradientAdjoint(at(lagged.phi as Tensor, 10), 2), -0.02);
      expect(worst(ops.sub(at(lagged.u, 10), at(lagged.u, 9)), flux)).toBeLessThan(1e-8);
    });
  });
});

describe('use', () => {
  it('degenerate images: constant, one pixel, time 0 only, extinct', () => {
    tidy(() => {
      const constant = tv.flow(ops.add(ops.mul(normal([5, 6], 1), 0), 3), { times: [0, 1, 2], dual: true });
      expect(new Set(values(constant.u))).toEqual(new Set([3]));
      expect(worst(constant.phi as Tensor, ops.mul(constant.phi as Tensor, 0))).toBe(0);
      expect(constant.errorBound.flatMap((b) => [...b])).toEqual([0, 0, 0]);
      expect(values(tv.flow(tensor([[7]]), { times: [1, 2] }).u)).toEqual([7, 7]);
      const start = tv.flow(tensor([[1, 2]]), { times: [0], dual: true });
      expect(values(start.u)).toEqual([1, 2]);
      expect(start.phi?.shape).toEqual([1, 2, 1, 2]);
      expect(start.steps).toEqual([]);
      const f = normal([9, 8], 2);
      const late = tv.flow(f, { times: [1000], tolerance: 1e-10 }).u;
      expect(worst(at(late, 0), ops.broadcastTo(ops.mean(f), [9, 8]))).toBeLessThan(1e-4);
    });
  });

  it('an image that is not a number stays alone', () => {
    tidy(() => {
      const good = normal([1, 10, 11], 3);
      for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
        const spoiled = values(normal([1, 10, 11], 4));
        spoiled[17] = value;
        const batch = ops.concat([good, tensor(spoiled, { shape: [1, 10, 11], dtype: 'float64' })], 0);
        for (const options of [
          { times: [0.1, 0.3], step: 0.1 },
          { times: [0.1, 0.3], accuracy: 1e-2 },
          { times: [0.1, 0.3], step: 0.1, isotropic: false },
          { times: [0.1], step: 0.1, method: 'chambolle' as const, iterations: 20 },
        ]) {
          const alone = tv.flow(good, options).u;
          const got = ops.narrow(tv.flow(batch, options).u, 1, 0, 1);
          expect(worst(got, alone)).toBeLessThan(1e-12);
        }
      }
    });
  });

  it('onStep sees every step and may end the flow', () => {
    tidy(() => {
      const f = normal([8, 9], 5);
      const seen: number[] = [];
      const full = tv.flow(f, { endTime: 0.5, step: 0.1, onStep: ({ time, u }) => seen.push(time + 0 * u.size) });
      expect(seen).toEqual(full.steps.map((step) => step.time));
      expect(seen.length).toBe(5);
      const ended = tv.flow(f, { endTime: 0.5, step: 0.1, onStep: ({ time }) => time < 0.25 });
      expect(ended.steps.length).toBe(3);
      expect(ended.u.shape).toEqual([4, 8, 9]);
      expect(worst(ended.u, ops.narrow(full.u, 0, 0, 4))).toBe(0);
      expect(tv.flow(f, { times: [1], step: 0.1, dual: true, onStep: () => false }).u.shape).toEqual([0, 8, 9]);
      const line = tensor([1, 2, 4]);
      tv.flow(line, { times: [0.1], onStep: ({ u }) => expect(u.shape).toEqual([3]) });
    });
  });

  it('leaves no tensor behind, also when a step fails', async () => {
    const f = normal([16, 16], 6);
    const before = memory().tensors;
    const run = (options: Parameters<typeof tv.flow>[1]): void => {
      const { u, phi } = tv.flow(f, options);
      u.dispose();
      phi?.dispose();
    };
    run({ times: [0, 0.1, 0.2], dual: true });
    run({ times: [0.2], step: 0.1, method: 'lagged' });
    expect(() =>
      tv.flow(f, {
        times: [0.2],
        onStep: () => {
          throw new Error('enough');
        },
      }),
    ).toThrow('enough');
    const late = await tv.flowAsync(f, { times: [0, 0.1], dual: true });
    late.u.dispose();
    late.phi?.dispose();
    expect(memory().tensors).toBe(before);
    f.dispose();
  });

  it('off the main thread: the same flow, a free event loop, an end on request', async () => {
    const f = normal([2, 30, 32], 7);
    for (const options of [
      { times: [0, 0.2, 0.5], dual: true },
      { times: [0.2], isotropic: false },
      { times: [0.2], step: 0.1, method: 'chambolle' as const, iterations: 10 },
    ]) {
      const [want, got] = [tv.flow(f, options), await tv.flowAsync(f, options)];
      expect(values(got.u)).toEqual(values(want.u));
      if (want.phi) expect(values(got.phi as Tensor)).toEqual(values(want.phi));
      expect(got.steps.length).toBe(want.steps.length);
      for (const value of [want.u, got.u, want.phi, got.phi]) value?.dispose();
    }
    f.dispose();
    const large = normal([256, 256], 8);
    const held = memory().tensors;
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    const controller = new AbortController();
    const pending = tv.flowAsync(large, { endTime: 1, step: 0.5, tolerance: 1e-12, maxIterations: 1_000_000, signal: controller.signal });
    setTimeout(() => controller.abort(new Error('enough')), 30);
    await expect(pending).rejects.toThrow('enough');
    clearInterval(timer);
    expect(turns).toBeGreaterThan(3);
    expect(memory().tensors).toBe(held);
    large.dispose();
  });

  it('refuses what it cannot do', async () => {
    const f = tensor([
      [1, 2],
      [3, 5],
    ]);
    const refuse = (options: object, message: RegExp): void => {
      expect(() => tv.flow(f, options as Parameters<typeof tv.flow>[1])).toThrow(message);
    };
    refuse({}, /Expected either times or endTime but received neither/);
    refuse({ times: [1], endTime: 2 }, /received both/);
    refuse({ times: [] }, /at least one number for times/);
    refuse({ times: [1, 1] }, /increasing numbers >= 0 for times but received 1 at 1/);
    refuse({ times: [-1] }, /increasing numbers/);
    refuse({ times: [Number.NaN] }, /increasing numbers/);
    refuse({ endTime: 1 }, /a step with endTime/);
    refuse({ endTime: 1, step: 2 }, /1 to 10000000 steps/);
    refuse({ times: [1], step: 0 }, /a number > 0 for step/);
    refuse({ times: [1], step: 1, accuracy: 0.1 }, /either step or accuracy/);
    refuse({ times: [1], accuracy: -1 }, /accuracy/);
    refuse({ times: [1], tolerance: 2 }, /tolerance/);
    refuse({ times: [1], maxIterations: 0 }, /maxIterations/);
    refuse({ times: [1], method: 'euler' }, /'implicit', 'chambolle' or 'lagged' for method/);
    refuse({ times: [1], method: 'lagged' }, /a step with method 'lagged'/);
    refuse({ times: [1], step: 1, method: 'lagged', isotropic: false }, /isotropic variation/);
    refuse({ times: [1], step: 1, epsilon: 0.1 }, /epsilon only with method 'lagged'/);
    refuse({ times: [1], step: 1, method: 'chambolle', tau: 0.3 }, /tau/);
    refuse({ times: [1], channels: 'both' }, /channels/);
    refuse({ times: [1], channels: 'coupled' }, /3 axes/);
    refuse({ times: [1], timeConvention: 'own' }, /'pde', 'paper6' or 'gilboa' for timeConvention/);
    refuse({ times: [1], isotropic: 1 }, /a boolean for isotropic/);
    refuse({ times: [1], onStep: 3 }, /a function for onStep/);
    expect(() => tv.flow(tensor([1, 2], { dtype: 'int32' }), { times: [1] })).toThrow(/float32 or float64/);
    expect(() => tv.flow(ops.mul(tensor([[]], { shape: [0, 3] }), 1), { times: [1] })).toThrow(/at least one pixel/);
    expect(() => grad((x: Tensor) => ops.sum(tv.flow(x, { times: [1] }).u))(f)).toThrow(/being differentiated/);
    await expect(tv.flowAsync(f, { times: [] })).rejects.toThrow(/times/);
  });
});
