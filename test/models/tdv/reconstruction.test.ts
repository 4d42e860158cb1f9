/** The regulariser beside a data term: descent of Algorithm 1, in float64. */
import { expect, it } from 'vitest';
import { inverse, models, seed, tidy } from '../../../src/index.js';
import { normal } from '../../support/numeric.js';
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
