/** Spectral total variation and the extinction time: identities, closed forms, scaling, refusals. */
import { describe, expect, it } from 'vitest';
import { grad, memory, ops, type Tensor, tensor, tidy, tv } from '../../src/index.js';
import { normal, values } from '../support/numeric.js';

const worst = (a: Tensor, b: Tensor): number => values(ops.abs(ops.sub(a, b))).reduce((m, v) => Math.max(m, v), 0);
const step1d = (n: number, a: number, c: number): Float64Array => Float64Array.from({ length: n }, (_, i) => (i < a ? c : 0));
const image = (height: number, width: number, value: (i: number, j: number) => number): Tensor =>
  tensor(
    Float64Array.from({ length: height * width }, (_, k) => value(Math.floor(k / width), k % width)),
    { shape: [height, width] },
  );
const disc = (n: number, r: number, height = 1): Tensor =>
  image(n, n, (i, j) => ((i - (n - 1) / 2) ** 2 + (j - (n - 1) / 2) ** 2 <= r * r ? height : 0));
/** Index of the largest entry. */
const peak = (spectrum: readonly number[]): number => spectrum.indexOf(Math.max(...spectrum));

describe('spectral', () => {
  it('f = residual + dt Σ φ to rounding, for any flow; low + high = f; high(b) - high(a) = band(a, b)', () => {
    tidy(() => {
      const f = normal([2, 14, 18], 1);
      for (const options of [
        { endTime: 1, bands: 20 },
        { endTime: 0.9, step: 0.13 },
        { endTime: 0.5, bands: 5, isotropic: false },
        { endTime: 0.5, bands: 5, channels: 'coupled' as const },
        { endTime: 0.5, bands: 5, method: 'lagged' as const },
        { endTime: 0.5, bands: 4, accuracy: 1e-2 },
        { endTime: 0.5, bands: 4, timeConvention: 'gilboa' as const },
      ]) {
        const s = tv.spectral(f, options);
        expect(worst(s.reconstruct(), f)).toBeLessThan(1e-10);
        expect(worst(ops.add(s.low(0.3), s.high(0.3)), f)).toBeLessThan(1e-10);
        expect(worst(s.band(0.2, 0.4), ops.sub(s.high(0.4), s.high(0.2)))).toBeLessThan(1e-10);
        expect(s.bands.shape).toEqual([s.times.length, 2, 14, 18]);
        expect(s.amplitudes.shape).toEqual('channels' in options ? [s.times.length] : [s.times.length, 2]);
        const mean = (x: Tensor): Tensor => ops.mean(x, { axes: [-2, -1] });
        expect(worst(mean(s.residual), mean(f))).toBeLessThan(1e-10);
      }
    });
  });

  it('1D step: one peak, at c a (N - a) / N; as a line and as an image', () => {
    tidy(() => {
      const extinction = (16 * 48) / 64;
      for (const f of [tensor(step1d(64, 16, 1)), image(5, 64, (_, j) => (j < 16 ? 1 : 0))]) {
        const s = tv.spectral(f, { endTime: 20, bands: 54, tolerance: 1e-12, maxIterations: 100_000 });
        const amplitudes = values(s.amplitudes);
        const k = s.times.findIndex((t) => t > extinction);
        const around = (amplitudes[k - 1] as number) + (amplitudes[k] as number);
        expect(around).toBeGreaterThan(0.95 * amplitudes.reduce((a, b) => a + b));
        expect(worst(s.residual, ops.broadcastTo(ops.mean(f), f.shape))).toBeLessThan(1e-4);
      }
    });
  });

  it('two discs: a peak each, at contrast times size, and the band filter takes them apart', () => {
    tidy(() => {
      const n = 64;
      const small = image(n, n, (i, j) => ((i - 13) ** 2 + (j - 13) ** 2 <= 25 ? 1 : 0));
      const large = image(n, n, (i, j) => ((i - 42) ** 2 + (j - 42) ** 2 <= 144 ? 1 : 0));
      const s = tv.spectral(ops.add(small, large), { endTime: 8, bands: 40 });
      const amplitudes = values(s.amplitudes);
      const border = s.times.findIndex((t) => t > 4);
      const times = [peak(amplitudes.slice(0, border)), border + peak(amplitudes.slice(border))].map((k) => s.times[k] as number);
      // r / 2 in the plane; here the background, of n² - 25π - 144π pixels, rises too.
      const rise = (2 * Math.PI * (5 + 12)) / (n * n - 169 * Math.PI);
      expect(Math.abs((times[0] as number) * (2 / 5 + rise) - 1)).toBeLessThan(0.1);
      expect(Math.abs((times[1] as number) * (2 / 12 + rise) - 1)).toBeLessThan(0.1);
      const separated = s.high(4);
      const got = values(separated);
      expect(got[13 * n + 13]).toBeGreaterThan(0.9); // the small disc is there
      expect(Math.abs(got[42 * n + 42] as number)).toBeLessThan(0.1); // the large one is not
    });
  });

  it('scales: flow time follows contrast, and S₂ sums to the energy', () => {
    tidy(() => {
      const f = normal([12, 13], 2);
      const s = tv.spectral(f, { endTime: 1, bands: 10, tolerance: 1e-10 });
      const scaled = tv.spectral(ops.mul(f, 4), { endTime: 4, bands: 10, tolerance: 1e-10 });
      expect(worst(ops.mul(scaled.bands, scaled.step), ops.mul(s.bands, 4 * s.step))).toBeLessThan(1e-3);
      const energy = values(ops.sum(ops.square(s.energies)))[0] as number;
      const total = (values(ops.sum(ops.square(f)))[0] as number) - (values(ops.sum(ops.mul(f, s.residual)))[0] as number);
      expect(Math.abs(energy * s.step - total)).toBeLessThan(1e-6 * total);
    });
  });

  it('without an end it goes on to the mean', () => {
    tidy(() => {
      const f = ops.stack([disc(24, 6), ops.mul(disc(24, 6), 0)], 0);
      const s = tv.spectral(f);
      expect(s.times.length).toBe(50);
      const mean = ops.broadcastTo(ops.mean(f, { axes: [-2, -1], keepDims: true }), f.shape);
      expect(worst(s.residual, mean)).toBeLessThan(1e-2);
      expect(tv.spectral(ops.mul(f, 0), { bands: 3 }).times.length).toBe(3);
    });
  });

  it('filters take weights or a function, and refuse others', () => {
    tidy(() => {
      const f = normal([9, 8], 3);
      const s = tv.spectral(f, { endTime: 0.6, bands: 3 });
      expect(worst(s.filter([1, 1, 1]), f)).toBeLessThan(1e-12);
      expect(worst(s.filter([1, 1, 1], { residual: 0 }), ops.sub(f, s.residual))).toBeLessThan(1e-12);
      expect(
        worst(
          s.filter((t) => t),
          ops.add(
            s.filter((t) => t, { residual: 0 }),
            ops.mul(s.residual, 0.6),
          ),
        ),
      ).toBeLessThan(1e-12);
      expect(() => s.filter([1])).toThrow(/Expected 3 finite weights for the bands but received 1/);
      expect(() => s.filter(() => Number.NaN)).toThrow(/NaN among them/);
      expect(() => s.filter([1, 1, 1], { residual: Number.NaN })).toThrow(/residual/);
      expect(() => s.band(2, 1)).toThrow(/a time after 2 for to/);
      expect(() => s.low(-1)).toThrow(/a number >= 0 for time/);
      expect(() => tv.spectral(f, { bands: 2, step: 1 })).toThrow(/either step or bands/);
      expect(() => tv.spectral(f, { bands: 0.5 })).toThrow(/an integer >= 1 for bands/);
      expect(() => tv.spectral(f, { endTime: 1, step: 3 })).toThrow(/a step of at most 1/);
      expect(() => tv.spectral(f, { endTime: -1 })).toThrow(/endTime/);
    });
    const f = normal([6, 6], 1);
    const before = memory().tensors;
    tv.spectral(f, { endTime: 1, bands: 4 }).dispose();
    expect(memory().tensors).toBe(before);
    f.dispose();
  });
});

describe('extinctionTime', () => {
  it('of a 1D step is c a (N - a) / N; as a line, a row, a column and an image', () => {
    tidy(() => {
      const line = step1d(40, 12, 3);
      const want = (3 * 12 * 28) / 40;
      for (const shape of [[40], [1, 40], [40, 1]]) expect(tv.extinctionTime(tensor(line, { shape })).item()).toBeCloseTo(want, 10);
      const f = image(7, 40, (_, j) => line[j] as number);
      for (const isotropic of [true, false]) expect(tv.extinctionTime(f, { isotropic }).item() / want).toBeCloseTo(1, 4);
    });
  });

  it('of a disc is near c / (2/r + 2πr / (A - πr²)); 1-homogeneous; blind to the grey level', () => {
    tidy(() => {
      const f = disc(64, 16);
      const want = 1 / (2 / 16 + (2 * Math.PI * 16) / (64 * 64 - Math.PI * 256));
      const time = tv.extinctionTime(f).item();
      expect(Math.abs(time / want - 1)).toBeLessThan(0.06);
      expect(tv.extinctionTime(ops.add(ops.mul(f, -7), 5)).item() / (7 * time)).toBeCloseTo(1, 4);
    });
  });

  it('the flow is not its mean shortly before, and is from then on; no earlier than the proximal map', () => {
    tidy(() => {
      for (const isotropic of [true, false]) {
        const f = normal([1, 12, 15], 4);
        const times = values(tv.extinctionTime(f, { isotropic, tolerance: 1e-3 }));
        for (const [k, time] of times.entries()) {
          const one = ops.narrow(f, 0, k, k + 1);
          const grid = { tolerance: 1e-9, isotropic, maxIterations: 100_000 };
          const { u } = tv.flow(one, { ...grid, times: [0.98 * time, 1.01 * time], step: time / 150 });
          const spread = [0, 1].map((i) => {
            const now = ops.narrow(u, 0, i, i + 1);
            return ops.sub(ops.max(now), ops.min(now)).item();
          });
          expect(spread[0]).toBeGreaterThan(1e-3);
          expect(spread[1]).toBeLessThan(2e-4);
        }
        // |.|_1 >= |.|_2: the anisotropic dual norm is the smaller one.
        const dualNorms = values(tv.lambdaMax(f, { dims: 2 }));
        times.forEach((time, k) => {
          expect(time).toBeGreaterThan((dualNorms[k] as number) * 0.999);
        });
      }
    });
  });

  it('per image; 0 for a constant one, NaN for one that is not finite; coupled channels', () => {
    tidy(() => {
      const f = normal([8, 7], 5);
      const batch = ops.stack([f, ops.mul(f, 2), ops.mul(f, 0), ops.mul(f, Number.NaN)], 0);
      const [one, two, none, bad] = values(tv.extinctionTime(batch));
      expect((two as number) / (one as number)).toBeCloseTo(2, 6);
      expect(none).toBe(0);
      expect(bad).toBeNaN();
      // Equal channels share the norm: J is sqrt(3) times that of one.
      const three = ops.broadcastTo(f, [3, 8, 7]);
      expect(tv.extinctionTime(three, { channels: 'coupled' }).item() / ((one as number) * Math.sqrt(3))).toBeCloseTo(1, 3);
      expect(tv.extinctionTime(ops.cast(f, 'float32')).dtype).toBe('float32');
      expect(() => tv.extinctionTime(tensor([1], { dtype: 'int32' }))).toThrow(/float32 or float64/);
      expect(() => tv.extinctionTime(f, { tolerance: 0 })).toThrow(/tolerance/);
      expect(() => tv.extinctionTime(f, { channels: 'coupled' })).toThrow(/3 axes/);
      expect(() => grad((x: Tensor) => tv.extinctionTime(x))(f)).toThrow(/being differentiated/);
    });
  });
});
