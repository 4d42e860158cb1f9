/** The unrolled scheme and its optimal control, in float64 (specification §3, §4, §14). */
import { afterEach, describe, expect, it } from 'vitest';
import { inverse, models, nn, ops, seed, type Tensor, tidy } from '../../../src/index.js';
import { dot, normal, relativeError } from '../../support/numeric.js';
import { inFloat64 } from './float64.js';

const { adjointStates, bestStoppingTime, scalarGradients, stoppingCondition, VariationalNetwork, weightGradients } = models.tdv;

describe('the variational network', () => {
  const made: models.tdv.VariationalNetwork[] = [];
  afterEach(() => {
    for (const network of made.splice(0)) network.dispose();
  });
  function make(options: models.tdv.NetworkOptions = {}, T = 0.3, lambda = 0.7): models.tdv.VariationalNetwork {
    seed(3);
    const network = inFloat64(new VariationalNetwork({ features: 4, macroBlocks: 1, steps: 3, ...options }));
    tidy(() => {
      network.T.value.assign(ops.add(ops.mul(network.T.value, 0), T));
      network.lmbda?.value.assign(ops.add(ops.mul(network.lmbda.value, 0), lambda));
    });
    made.push(network);
    return network;
  }
  const loss = (x: Tensor, y: Tensor): Tensor => ops.mul(ops.sum(ops.square(ops.sub(x, y))), 0.5 / (y.shape[0] as number));

  for (const scheme of ['released', 'paper'] as const) {
    it(`${scheme} scheme: each step solves its proximal problem`, () => {
      const network = make({ scheme });
      tidy(() => {
        const z = normal([2, 1, 8, 7], 1);
        const states = network.states(z);
        expect(states.length).toBe(4);
        const tau = (scheme === 'paper' ? 0.3 : 0.7) / 3;
        for (let s = 0; s < 3; s++) {
          const [x, next] = [states[s] as Tensor, states[s + 1] as Tensor];
          // Optimality: x_{s+1} - v + τ (x_{s+1} - z) = 0
          const residual = ops.add(ops.sub(next, ops.sub(x, ops.mul(network.R.gradient(x), 0.1))), ops.mul(ops.sub(next, z), tau));
          expect(relativeError(residual, ops.mul(residual, 0))).toBeLessThan(1e-13);
        }
        expect(relativeError(network.forward(z), states[3] as Tensor)).toBe(0);
      });
    });

    it(`${scheme} scheme: the adjoint state equation equals reverse mode`, () => {
      const network = make({ scheme });
      tidy(() => {
        const [z, y] = [normal([2, 1, 7, 9], 1), normal([2, 1, 7, 9], 2)];
        const adjoint = adjointStates(network, z, y);
        const { gradients } = nn.valueAndGrad(network, () => loss(network.run(z), y));
        const scalars = scalarGradients(network, z, adjoint);
        expect(Math.abs(scalars.T / (gradients.get('T') as Tensor).item() - 1)).toBeLessThan(1e-11);
        if (scheme === 'released') {
          expect(Math.abs((scalars.lambda as number) / (gradients.get('lmbda') as Tensor).item() - 1)).toBeLessThan(1e-11);
        } else {
          expect(scalars.lambda).toBeNull();
          // dJ/dT = -(1/T) times the left-hand side of (11)
          expect(Math.abs(-stoppingCondition(network, adjoint) / 0.3 / scalars.T - 1)).toBeLessThan(1e-11);
        }
        const weights = weightGradients(network, adjoint);
        const pairs: [Tensor, string][] = [
          [weights.K, 'R.K1.weight'],
          [weights.w, 'R.KN.weight'],
          [weights.blocks[0]!.micro[1]![0]!.K1, 'R.mb.0.mb.1.0.conv1.weight'],
          [weights.blocks[0]!.micro[2]![0]!.K2, 'R.mb.0.mb.2.0.conv2.weight'],
          [weights.blocks[0]!.down[1]!, 'R.mb.0.conv_down.1.weight'],
          [weights.blocks[0]!.up[0]!, 'R.mb.0.conv_up.0.weight'],
        ];
        for (const [mine, name] of pairs) expect(relativeError(mine, gradients.get(name) as Tensor)).toBeLessThan(1e-11);
        // -p_0 is the gradient in x_0; with x_0 = z it lacks the data term's share
        expect(adjoint.adjoints.length).toBe(4);
      });
    });
  }

  for (const closed of [true, false]) {
    it(`a general operator, ${closed ? 'in closed form' : 'by conjugate gradients'}: scheme and adjoint states`, () => {
      const network = make({ scheme: 'paper' }, 2);
      tidy(() => {
        // Images seen through a mask: diagonal, with a closed form; without it, conjugate gradients must find the same.
        const mask = ops.cast(ops.compare.gt(normal([7, 8], 5), 0), 'float64');
        const diagonal = inverse.diagonal(mask);
        const operator = closed
          ? diagonal
          : inverse.linearOperator({
              name: 'masking',
              inputShape: [7, 8],
              outputShape: [7, 8],
              apply: (x) => ops.mul(x, mask),
              adjoint: (y) => ops.mul(y, mask),
            });
        const term = { operator, conjugateGradients: { tolerance: 1e-14, iterations: 200 } };
        const [z, y] = [ops.mul(normal([2, 1, 7, 8], 1), mask), normal([2, 1, 7, 8], 2)];
        const states = network.states(z, term);
        const [x, next] = [states[1] as Tensor, states[2] as Tensor];
        const a = 2 / 3;
        const residual = ops.add(
          ops.sub(next, ops.sub(x, ops.mul(network.R.gradient(x), a))),
          ops.mul(operator.adjoint(ops.sub(operator.apply(next), z)), a),
        );
        expect(relativeError(residual, ops.mul(residual, 0))).toBeLessThan(1e-12);
        const adjoint = adjointStates(network, z, y, term);
        const { gradients } = nn.valueAndGrad(network, () => loss(network.run(z, term), y));
        const byT = (gradients.get('T') as Tensor).item();
        expect(Math.abs(scalarGradients(network, z, adjoint, term).T / byT - 1)).toBeLessThan(1e-10);
        expect(Math.abs(-stoppingCondition(network, adjoint, term) / 2 / byT - 1)).toBeLessThan(1e-10);
        const { K } = weightGradients(network, adjoint, term);
        expect(relativeError(K, gradients.get('R.K1.weight') as Tensor)).toBeLessThan(1e-10);
      });
    });
  }

  it('the stopping condition is the derivative along the time axis in the released scheme, too', () => {
    tidy(() => {
      const [z, y] = [normal([1, 1, 9, 8], 1), normal([1, 1, 9, 8], 2)];
      const at = (mu: number): number => loss(make({}, 0.3 * mu, 0.7 * mu).run(z), y).item();
      const network = make();
      const condition = stoppingCondition(network, adjointStates(network, z, y));
      const slope = (at(1 + 1e-5) - at(1 - 1e-5)) / 2e-5;
      expect(Math.abs(-condition / slope - 1)).toBeLessThan(1e-7);
    });
  });

  it('the best stopping time is a minimum of the loss', () => {
    const network = make();
    tidy(() => {
      const y = ops.mul(normal([1, 1, 9, 8], 2), 0);
      const z = ops.add(y, normal([1, 1, 9, 8], 1));
      const target = ops.mul(
        models.tdv.atTime(network, 1.7, () => network.run(z)),
        1,
      );
      const { factor, T } = bestStoppingTime(network, z, target, { tolerance: 1e-9 });
      expect(factor).toBeCloseTo(1.7, 6);
      expect(T).toBeCloseTo(0.3 * 1.7, 6);
      expect(network.T.value.item()).toBe(0.3);
      expect(bestStoppingTime(network, z, target, { from: 2, to: 4 }).factor).toBe(2);
      expect(bestStoppingTime(network, z, target, { from: 0.5, to: 1.5 }).factor).toBe(1.5);
      expect(bestStoppingTime(network, z, target, { to: 400, tolerance: 1e-9 }).factor).toBeCloseTo(1.7, 6);
      expect(() => bestStoppingTime(network, z, target, { from: 2, to: 1 })).toThrow('Expected 0 < from < to');
    });
  });

  it('checkpointed or not, the gradients are the same', () => {
    const network = make();
    tidy(() => {
      const [z, y] = [normal([1, 1, 8, 8], 1), normal([1, 1, 8, 8], 2)];
      const by = (checkpoint: boolean): Map<string, Tensor> =>
        nn.valueAndGrad(network, () => loss(network.run(z, { checkpoint }), y)).gradients;
      const [a, b] = [by(true), by(false)];
      for (const [name, g] of a) expect(relativeError(g, b.get(name) as Tensor)).toBeLessThan(1e-13);
    });
  });

  it('rescales for other noise levels: the scheme on scaled data, scaled back', () => {
    const network = make();
    tidy(() => {
      const z = normal([1, 1, 8, 8], 1);
      const s = 25 / 15;
      const expected = ops.mul(network.run(ops.mul(z, s)), 1 / s);
      expect(relativeError(network.run(z, { sigma: 15 / 255 }), expected)).toBeLessThan(1e-13);
    });
  });

  it('goes beyond the stopping time with more steps of the same size, and starts where it is told', () => {
    const network = make();
    tidy(() => {
      const z = normal([1, 1, 8, 8], 1);
      const long = network.states(z, { steps: 5 });
      const again = network.states(z, { steps: 2, initial: long[3] as Tensor });
      expect(relativeError(again[2] as Tensor, long[5] as Tensor)).toBeLessThan(1e-13);
      expect(dot(long[0] as Tensor, z)).toBeCloseTo(dot(z, z), 12);
    });
  });

  it('refuses wrong options', () => {
    expect(() => new VariationalNetwork({ steps: 0 })).toThrow('Expected an integer >= 1 for steps but received 0');
    expect(() => new VariationalNetwork({ sigma: -1 })).toThrow('Expected a finite number > 0 for sigma but received -1');
    expect(() => new VariationalNetwork({ scheme: 'other' as 'paper' })).toThrow(
      "Expected 'released' or 'paper' for scheme but received other",
    );
    const network = make();
    tidy(() => {
      const z = normal([1, 1, 8, 8], 1);
      expect(() => network.run(z, { sigma: Number.NaN })).toThrow('for sigma but received NaN');
      expect(() => network.run(z, { initial: normal([1, 1, 8, 9], 1) })).toThrow('Expected images of shape [1, 1, 8, 8] for initial');
      expect(() => adjointStates(network, z, normal([1, 1, 8, 9], 1))).toThrow('Expected images of shape [1, 1, 8, 8] for y');
    });
  });
});
