/** The regulariser beside a data term: descent of Algorithm 1, in float64. */
import { expect, it } from 'vitest';
import { grad, inverse, models, ops, seed, type Tensor, tidy } from '../../../src/index.js';
import { normal, relativeError } from '../../support/numeric.js';
import { inFloat64 } from './float64.js';

it('descends on lambda/2 |A x - z|² + R(x), and refuses what does not fit', () => {
  seed(7);
  const R = inFloat64(new models.tdv.TotalDeepVariation({ features: 4, macroBlocks: 1 }));
  tidy(() => {
    const A = inverse.bicubicResize([12, 12], { scale: 1 / 2 });
    const z = A.apply(normal([12, 12], 3));
    const x0 = A.adjoint(z);
    const lambda = 20;
    const total = inverse.sumEnergies(inverse.leastSquares(A, z, lambda), models.tdv.regularizerEnergy(R));
    const { x, energies } = models.tdv.reconstructWith(R, A, z, lambda, x0, { iterations: 20 });
    expect(energies.at(-1)).toBeLessThan(total.value(x0).item());
    expect(total.value(x).item()).toBeCloseTo(energies.at(-1)!, 9);
    for (const bad of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => models.tdv.reconstructWith(R, A, z, bad, x0)).toThrow(/number > 0 for lambda/);
    }
  });
  R.dispose();
});

it('with contrast c is the problem of c times larger images', () => {
  seed(7);
  const R = inFloat64(new models.tdv.TotalDeepVariation({ features: 4, macroBlocks: 1 }));
  tidy(() => {
    const c = 2.5;
    const energy = models.tdv.regularizerEnergy(R, 3, c);
    const x = normal([2, 9, 8], 1);
    const { value, gradient } = energy.valueAndGradient(x);
    expect(value.item()).toBeCloseTo((3 / c ** 2) * ops.sum(R.energy(ops.mul(ops.reshape(x, [2, 1, 9, 8]), c))).item(), 12);
    expect(energy.value(x).item()).toBeCloseTo(value.item(), 12);
    expect(relativeError(gradient, grad((v: Tensor) => energy.value(v))(x))).toBeLessThan(1e-12);
    // u = c x minimises lambda/2 |A u - c z|² + R(u).
    const A = inverse.bicubicResize([12, 12], { scale: 1 / 2 });
    const z = A.apply(normal([12, 12], 3));
    const x0 = A.adjoint(z);
    const run = (scale: number, contrast: number): Tensor =>
      models.tdv.reconstructWith(R, A, ops.mul(z, scale), 20, ops.mul(x0, scale), { iterations: 8, contrast }).x;
    expect(relativeError(ops.mul(run(1, c), c), run(c, 1))).toBeLessThan(1e-10);
    expect(() => models.tdv.regularizerEnergy(R, 1, 0)).toThrow('Expected a finite number > 0 for contrast but received 0');
    expect(() => models.tdv.regularizerEnergy(R, -1)).toThrow('Expected a finite number >= 0 for weight but received -1');
  });
  R.dispose();
});

it('suggests a data weight by the noise, and finds the best one from there', () => {
  seed(7);
  const network = inFloat64(new models.tdv.VariationalNetwork({ features: 4, macroBlocks: 1 }));
  tidy(() => {
    const ratio = network.lmbda!.value.item() / network.T.value.item();
    expect(models.tdv.suggestedDataWeight(network, 25 / 255)).toBeCloseTo(ratio, 9);
    expect(models.tdv.suggestedDataWeight(network, 50 / 255)).toBeCloseTo(ratio / 4, 9);
    expect(models.tdv.suggestedDataWeight(network, 0)).toBe(models.tdv.suggestedDataWeight(network, 0.5 / 255));
    expect(() => models.tdv.suggestedDataWeight(network, Number.NaN)).toThrow('Expected a finite number >= 0 for noise but received NaN');

    const A = inverse.bicubicResize([12, 12], { scale: 1 / 2 });
    const truth = normal([12, 12], 3);
    const z = A.apply(truth);
    const x0 = A.adjoint(z);
    const { lambda, x, psnr, tried } = models.tdv.bestDataWeight(network.R, A, z, truth, x0, { lambda: 5, iterations: 12 });
    expect(tried.map((t) => t.lambda)).toEqual(tried.map((t) => t.lambda).toSorted((a, b) => a - b));
    const best = tried.reduce((a, b) => (b.psnr > a.psnr ? b : a));
    expect(lambda).toBe(best.lambda);
    expect(psnr).toBeCloseTo(-10 * Math.log10(ops.mean(ops.square(ops.sub(x, truth))).item()), 9);
    expect(tried.length).toBeGreaterThan(3);
  });
  network.dispose();
});
