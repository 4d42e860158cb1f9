/** Eigenfunctions, sensitivity and the curves over the stopping time. */
import { describe, expect, it } from 'vitest';
import { models, ops, seed, tensor, tidy } from '../../../src/index.js';
import { dot, normal, relativeError } from '../../support/numeric.js';
import { inFloat64 } from './float64.js';

const { atTime, eigenfunction, sensitivity, stoppingCondition, timeCurve, TotalDeepVariation, VariationalNetwork, variationSurface } =
  models.tdv;

function network(seedOf: number, T: number, lambda: number): models.tdv.VariationalNetwork {
  seed(seedOf);
  const made = inFloat64(new VariationalNetwork({ features: 3, macroBlocks: 1, steps: 4 }));
  made.T.value.assign(tensor(T, { dtype: 'float64' }));
  made.lmbda!.value.assign(tensor(lambda, { dtype: 'float64' }));
  return made;
}

describe('analysis of total deep variation', () => {
  it('finds a nonlinear eigenfunction on the sphere', () => {
    seed(1);
    const R = inFloat64(new TotalDeepVariation({ features: 3, macroBlocks: 1 }));
    tidy(() => {
      const x0 = normal([1, 1, 7, 6], 1);
      const { x, eigenvalue, residual, energies } = eigenfunction(R, x0, { iterations: 600, stepSize: 1 });
      expect(dot(x, x)).toBeCloseTo(dot(x0, x0), 9);
      expect(energies.every((e, i) => i === 0 || e <= energies[i - 1]! + 1e-12)).toBe(true);
      expect(residual).toBeLessThan(0.05);
      expect(eigenvalue).toBeCloseTo(dot(R.gradient(x), x) / dot(x, x), 9);
      expect(() => eigenfunction(R, ops.mul(x0, 0))).toThrow('Expected an image other than zero for x0');
      expect(() => eigenfunction(R, x0, { iterations: 0 })).toThrow('Expected an integer >= 1 for iterations');
    });
    R.dispose();
  });

  it('bounds the distance of two trajectories (Theorem 3.2)', () => {
    const [a, b] = [network(1, 0.3, 0.7), network(2, 0.35, 0.6)];
    tidy(() => {
      const { differences, bounds } = sensitivity(a, b, normal([1, 1, 9, 8], 1));
      expect(differences.length).toBe(5);
      differences.forEach((difference, s) => {
        expect(difference).toBeLessThanOrEqual((bounds[s] as number) * (1 + 1e-12));
      });
      expect(differences[4]).toBeGreaterThan(0);
      const same = sensitivity(a, a, normal([1, 1, 9, 8], 1));
      expect(Math.max(...same.bounds)).toBe(0);
    });
    a.dispose();
    b.dispose();
  });

  it('draws the loss and condition (11) over the stopping time: it falls through zero where the PSNR peaks', () => {
    const one = network(3, 0.3, 0.7);
    tidy(() => {
      const z = normal([1, 1, 9, 8], 1, 0.3);
      const y = ops.add(
        atTime(one, 1.5, () => one.run(z)),
        normal([1, 1, 9, 8], 2, 1e-3),
      );
      const curve = timeCurve(one, z, y, [1, 1.25, 1.5, 1.75, 2]);
      const best = curve.reduce((p, q) => (q.psnr > p.psnr ? q : p));
      expect(best.factor).toBe(1.5);
      expect(curve[1]!.condition).toBeGreaterThan(0);
      expect(curve[3]!.condition).toBeLessThan(0);
      const here = stoppingCondition(one, models.tdv.adjointStates(one, z, y));
      expect(curve[0]!.condition).toBeCloseTo(here, 12);
      expect(curve[4]!.T).toBeCloseTo(0.6, 12);
    });
    one.dispose();
  });

  it('gives the deep variation of the centre pixel over contrast and noise', () => {
    seed(1);
    const R = new TotalDeepVariation({ features: 3, macroBlocks: 1 });
    tidy(() => {
      const x = ops.cast(normal([1, 1, 9, 9], 1), 'float32');
      const surface = variationSurface(R, x, [0, 1, 2], [0, 0.1]);
      expect(surface.length).toBe(2);
      expect(surface[0]!.length).toBe(3);
      // The activation is even and zero at zero, so r is, too.
      expect(surface[0]![0]).toBeCloseTo(0, 6);
      const centre = ops.slice(R.forward(ops.mul(x, 2)), [0, 0, 4, 4], [1, 1, 1, 1]);
      expect(relativeError(centre, tensor([[[[surface[0]![2]!]]]]))).toBeLessThan(1e-6);
    });
    R.dispose();
  });
});
