/** The gradient methods against exact solutions, and the baselines of the reconstructions. */
import { describe, expect, it } from 'vitest';
import { full, grad, inverse, memory, ops, type Tensor, tidy, tv } from '../../src/index.js';
import { normal, relativeError } from '../support/numeric.js';

const { acceleratedGradient, blur, gaussianKernel, leastSquares, sumEnergies, tvReconstruct } = inverse;
const psnr = (a: Tensor, b: Tensor): number => tidy(() => -10 * Math.log10(ops.mean(ops.square(ops.sub(a, b))).item()));

describe('leastSquares', () => {
  it('agrees with automatic differentiation', () => {
    tidy(() => {
      const a = blur([5, 6], normal([3, 3], 1));
      const energy = leastSquares(a, normal([5, 6], 2), 0.7);
      const x = normal([5, 6], 3);
      const { value, gradient } = energy.valueAndGradient(x);
      expect(value.item()).toBeCloseTo(energy.value(x).item(), 12);
      expect(relativeError(gradient, grad((v: Tensor) => energy.value(v))(x))).toBeLessThan(1e-12);
    });
  });
});

describe('acceleratedGradient', () => {
  it('reaches the minimum of a quadratic, whatever the first estimate of the Lipschitz constant', () => {
    tidy(() => {
      const a = blur([8, 8], gaussianKernel(0.8));
      const [v, z] = [normal([8, 8], 1), normal([8, 8], 2)];
      const energy = sumEnergies(leastSquares(inverse.identity(), v), leastSquares(a, z, 4));
      const want = inverse.proximalStep(a, v, z, 4, { tolerance: 1e-13 });
      for (const lipschitz of [1e-4, 1, 1e5]) {
        const { x, energies } = acceleratedGradient(energy, ops.mul(v, 0), { iterations: 300, lipschitz });
        expect(relativeError(x, want)).toBeLessThan(1e-6);
        expect(energies).toHaveLength(300);
        expect(energies[299]).toBeLessThanOrEqual(energies[0] as number);
      }
    });
  });

  it('estimates the Lipschitz constant, stops at the tolerance and when it is told to, and keeps no tensors', () => {
    const before = memory().tensors;
    tidy(() => {
      const energy = leastSquares(inverse.identity().scale(30), normal([10], 1));
      const { lipschitz, iterations } = acceleratedGradient(energy, normal([10], 2), { tolerance: 1e-8, decrease: 1 });
      expect(lipschitz).toBeGreaterThanOrEqual(900);
      expect(lipschitz).toBeLessThan(1800);
      expect(iterations).toBeLessThan(100);
      const seen: number[] = [];
      const stopped = acceleratedGradient(energy, normal([10], 2), { onIteration: (k) => seen.push(k) < 3 });
      expect([seen, stopped.iterations]).toEqual([[1, 2, 3], 3]);
    });
    const { x } = acceleratedGradient(leastSquares(inverse.identity(), normal([4], 1).own()), normal([4], 2), { iterations: 20 });
    x.dispose();
    expect(memory().tensors).toBeLessThanOrEqual(before + 3);
  });

  it('refuses what is out of range, and energies that are not numbers', () => {
    const energy = leastSquares(inverse.identity(), normal([2], 1));
    const x = normal([2], 2);
    expect(() => acceleratedGradient(energy, x, { iterations: 0 })).toThrow('Expected an integer >= 1 for iterations but received 0');
    expect(() => acceleratedGradient(energy, x, { lipschitz: 0 })).toThrow('Expected a number > 0 for lipschitz but received 0');
    expect(() => acceleratedGradient(energy, x, { increase: 1 })).toThrow('Expected a number > 1 for increase but received 1');
    expect(() => acceleratedGradient(energy, ops.mul(x, Number.NaN))).toThrow('Expected an energy that is a number but received NaN');
  });
});

describe('tvReconstruct', () => {
  it('with the identity is the proximal map', () => {
    tidy(() => {
      const z = normal([2, 12, 10], 1);
      for (const isotropic of [true, false]) {
        const options = { isotropic, proxTolerance: 1e-10, norm: 1, tolerance: 1e-9 };
        const want = isotropic ? tv.rof(z, 0.4, { tolerance: 1e-10 }) : tv.prox2d(z, 0.4, { tolerance: 1e-10 });
        expect(relativeError(tvReconstruct(inverse.identity(), z, 0.4, options).x, want)).toBeLessThan(1e-4);
      }
    });
  });

  it('finds the minimum that a smoothed energy approaches', () => {
    tidy(() => {
      const a = blur([16, 16], gaussianKernel(1));
      const truth = ops.cast(inverse.sheppLogan(16), 'float64');
      const z = inverse.addNoise(a.apply(truth), 0.02, { seed: 1 });
      const { x, energy } = tvReconstruct(a, z, 0.02, { iterations: 400, tolerance: 1e-8, proxTolerance: 1e-8 });
      // Σ sqrt(|∇x|² + ε²) lies between TV and TV + ε pixels: its minimum brackets the minimum of the energy.
      const epsilon = 1e-3;
      const smooth = (v: Tensor): Tensor => {
        const dx = ops.pad(ops.difference(v, 1), [
          [0, 0],
          [0, 1],
        ]);
        const dy = ops.pad(ops.difference(v, 0), [
          [0, 1],
          [0, 0],
        ]);
        const tvPart = ops.sum(ops.sqrt(ops.add(ops.add(ops.square(dx), ops.square(dy)), epsilon ** 2)));
        return ops.add(leastSquares(a, z).value(v), ops.mul(tvPart, 0.02));
      };
      const smoothed = acceleratedGradient(
        { value: smooth, valueAndGradient: (v) => ({ value: smooth(v), gradient: grad(smooth)(v) }) },
        x,
        { iterations: 300, lipschitz: 10 },
      );
      const lowest = Math.min(...smoothed.energies);
      expect(energy).toBeLessThanOrEqual(lowest + 1e-7);
      expect(energy).toBeGreaterThanOrEqual(lowest - 0.02 * epsilon * 256);
    });
  });

  it('counts and stops', () => {
    tidy(() => {
      const a = inverse.radon([16, 16], { angles: 8 });
      const z = a.apply(inverse.sheppLogan(16));
      expect(tvReconstruct(a, z, 0.01, { iterations: 7, tolerance: 0 }).iterations).toBe(7);
      expect(tvReconstruct(a, z, 0.01, { onIteration: (k) => k < 4 }).iterations).toBe(4);
      const flat = tvReconstruct(a, z, 1e6).x.toTypedArray();
      expect(Math.max(...flat) - Math.min(...flat)).toBeLessThan(1e-3);
      expect(() => tvReconstruct(a, z, -1)).toThrow('Expected a number >= 0 for lambda but received -1');
      expect(() => tvReconstruct(a, normal([3, 3], 1), 1)).toThrow('for z of radon but received shape [3, 3]');
      expect(() => tvReconstruct(a, z, 1, { iterations: 0.5 })).toThrow('Expected an integer >= 1 for iterations but received 0.5');
    });
  });
});

describe('bestLambda', () => {
  it('climbs to the weight nearest to the truth, starts from the best image so far, and ends with a final run', () => {
    tidy(() => {
      const truth = full([4], 1);
      // The reconstruction is constant: 1 at lambda = 40.
      const trials: inverse.Trial[] = [];
      const { lambda, x, psnr, tried } = inverse.bestLambda(
        (trial) => {
          trials.push({ ...trial });
          return full([4], 1 + Math.log(trial.lambda / 40) + (trial.final ? 1e-3 : 0));
        },
        truth,
        0.1,
      );
      expect(Math.abs(Math.log(lambda / 40))).toBeLessThan(Math.log(3) / 4);
      expect(tried.reduce((a, b) => (b.psnr > a.psnr ? b : a)).lambda).toBe(lambda);
      expect(trials[0]).toEqual({ lambda: 0.1, final: false });
      expect(trials.slice(1).every((t) => t.start !== undefined)).toBe(true);
      expect(trials.map((t) => t.final)).toEqual([...trials.slice(1).map(() => false), true]);
      expect(new Set(trials.slice(0, -1).map((t) => t.lambda)).size).toBe(trials.length - 1);
      expect(x.toTypedArray()[0]).toBeCloseTo(1 + Math.log(lambda / 40) + 1e-3, 6);
      expect(psnr).toBeCloseTo(-20 * Math.log10(Math.abs(Math.log(lambda / 40) + 1e-3)), 2);
      expect(() => inverse.bestLambda(() => truth, truth, 0)).toThrow('Expected a number > 0 for lambda but received 0');
    });
  });
});

describe('baselines', () => {
  it('CT: TV is far above filtered back-projection with few views', () => {
    tidy(() => {
      const x = inverse.sheppLogan(64, { samples: 4 });
      const a = inverse.radon([64, 64], { angles: 20 });
      const y = inverse.addNoise(a.apply(x), 0.1, { seed: 1 });
      const fbp = Math.max(...(['ram-lak', 'hann'] as const).map((filter) => psnr(inverse.filteredBackProjection(a, y, { filter }), x)));
      expect(psnr(tvReconstruct(a, y, 0.2).x, x)).toBeGreaterThan(fbp + 5);
    });
  });

  it('MRI: TV is far above zero filling with four coils', () => {
    tidy(() => {
      const size = [64, 64] as const;
      const x = inverse.sheppLogan(size, { samples: 4 });
      const mask = inverse.samplingMask(size, { acceleration: 4, seed: 1 });
      const a = inverse.mri(size, { mask, maps: inverse.coilSensitivities(size, 4) });
      const y = inverse.addNoise(a.apply(x), 0.005, { seed: 1 });
      expect(psnr(tvReconstruct(a, y, 0.005).x, x)).toBeGreaterThan(psnr(a.adjoint(y), x) + 5);
    });
  });
});
