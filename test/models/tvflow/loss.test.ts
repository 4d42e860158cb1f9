/** The loss (9) and the joint space-time optimisation (specification §3, §4, exact test 9). */
import { describe, expect, it } from 'vitest';
import { data, memory, models, ops, Tensor, tidy, tv, vjp } from '../../../src/index.js';
import { normal, relativeError, values } from '../../support/numeric.js';

const { flowLoss, solveSpaceTime, spaceTimeGradient, spaceTimeLoss } = models.tvflow;

/** A dead-leaves picture with values 0 … 5, in float64. */
const picture = (side: number, seed = 3): Tensor => {
  const { data: samples } = data.deadLeaves({ height: side, width: side, seed });
  return Tensor.from(
    Float64Array.from(samples, (v) => 5 * v),
    [side, side],
  );
};

describe('the loss of the TV flow', () => {
  it('vanishes at the model-driven flow: u_t the difference quotient, φ the dual field', () => {
    tidy(() => {
      const f = picture(24);
      const dt = 0.05;
      const { y, dual } = tv.solveRof(f, dt, { tolerance: 1e-12 });
      const phi = ops.mul(dual, 1 / dt);
      const ut = ops.mul(ops.sub(y, f), 1 / dt);
      const { total, temporal, tv: bracket, normalisation, initial } = flowLoss({ u: y, ut, phi, initial: f }, f);
      expect(temporal.item()).toBeLessThan(1e-20);
      // The bracket is TV_ε - TV <= ε per pixel, and the gap.
      expect(bracket.item()).toBeLessThan(1e-3);
      expect(normalisation.item()).toBeLessThan(1e-12);
      expect(initial.item()).toBe(0);
      const away = flowLoss({ u: f, ut: ops.mul(ut, 0), phi: ops.mul(phi, 0), initial: f }, f);
      expect(total.item()).toBeLessThan(1e-6 * away.total.item());
    });
  });

  it('is the sum that the specification writes, for both variants of its third term', () => {
    tidy(() => {
      const [n, h, w] = [2, 4, 5];
      const [u, ut, initial, f] = [1, 2, 3, 4].map((s) => normal([n, h, w], s)) as [Tensor, Tensor, Tensor, Tensor];
      const phi = normal([n, 2, h, w], 5);
      const [U, V, A, F, P] = [u, ut, initial, f, phi].map(values) as [number[], number[], number[], number[], number[]];
      const at = (x: number[], k: number, i: number, j: number): number => x[(k * h + i) * w + j]!;
      const field = (k: number, c: number, i: number, j: number): number => (i < 0 || j < 0 ? 0 : P[((k * 2 + c) * h + i) * w + j]!);
      let [temporal, brackets, square, length, start, norm] = [0, 0, 0, 0, 0, 0];
      for (let k = 0; k < n; k++) {
        let bracket = 0;
        for (let i = 0; i < h; i++)
          for (let j = 0; j < w; j++) {
            const rows = (i < h - 1 ? field(k, 0, i, j) : 0) - field(k, 0, i - 1, j);
            const columns = (j < w - 1 ? field(k, 1, i, j) : 0) - field(k, 1, i, j - 1);
            const div = rows + columns;
            const gx = i < h - 1 ? at(U, k, i + 1, j) - at(U, k, i, j) : 0;
            const gy = j < w - 1 ? at(U, k, i, j + 1) - at(U, k, i, j) : 0;
            const s = field(k, 0, i, j) ** 2 + field(k, 1, i, j) ** 2;
            temporal += (at(V, k, i, j) - div) ** 2;
            bracket += at(U, k, i, j) * div + Math.sqrt(gx * gx + gy * gy + 1e-10);
            square += Math.max(0, s - 1);
            length += Math.max(0, Math.sqrt(s) - 1);
            start += (at(A, k, i, j) - at(F, k, i, j)) ** 2;
            norm += div * div;
          }
        brackets += bracket * bracket;
      }
      const pixels = n * h * w;
      const weight = 1e-4 * (96 ** 2 / (h * w)) ** 2;
      const close = (x: Tensor, want: number): void => expect(Math.abs(x.item() / want - 1)).toBeLessThan(1e-12);
      const loss = flowLoss({ u, ut, phi, initial }, f);
      close(loss.temporal, temporal / pixels);
      close(loss.tv, (weight * brackets) / n);
      close(loss.normalisation, square / pixels);
      close(loss.initial, start / pixels);
      close(loss.total, temporal / pixels + (weight * brackets) / n + square / pixels + start / pixels);
      const other = flowLoss({ u, ut, phi, initial }, f, { normalisation: 'length', minimalNorm: 0.5, tvWeight: 0, initialWeight: 3 });
      close(other.normalisation, length / pixels);
      close(other.total, temporal / pixels + length / pixels + (3 * start) / pixels + (0.5 * norm) / pixels);
    });
  });

  it('refuses what does not fit', () => {
    tidy(() => {
      const [u, phi] = [normal([4, 5], 1), normal([2, 4, 5], 2)];
      expect(() => flowLoss({ u, ut: normal([4, 4], 1), phi, initial: u }, u)).toThrow('Expected shape [4, 5] for ut but received [4, 4]');
      expect(() => flowLoss({ u, ut: u, phi: u, initial: u }, u)).toThrow('Expected shape [2, 4, 5] for phi but received [4, 5]');
      expect(() => flowLoss({ u, ut: u, phi, initial: u }, u, { tvWeight: -1 })).toThrow('for tvWeight but received -1');
      expect(() => flowLoss({ u, ut: u, phi, initial: u }, u, { phiBoundary: 'none' as 'frame' })).toThrow(
        "Expected 'natural' or 'frame' for phiBoundary but received none",
      );
      expect(() => flowLoss({ u, ut: u, phi, initial: u }, u, { normalisation: 'cube' as 'square' })).toThrow('for normalisation');
    });
  });
});

describe('joint space-time optimisation', () => {
  for (const phiBoundary of ['natural', 'frame'] as const) {
    for (const normalisation of ['square', 'length'] as const) {
      it(`the gradient by hand is the engine's: ${phiBoundary}, ${normalisation}`, () => {
        tidy(() => {
          const options = { phiBoundary, normalisation, minimalNorm: 0.3, tvWeight: 1e-6, initialWeight: 2 };
          const f = normal([2, 5, 6], 1);
          const [u, phi] = [normal([4, 2, 5, 6], 2), normal([4, 2, 2, 5, 6], 3)];
          const hand = spaceTimeGradient({ u, phi }, f, 0.1, options);
          const { value, pullback } = vjp((a: Tensor, b: Tensor) => spaceTimeLoss({ u: a, phi: b }, f, 0.1, options).total, u, phi);
          expect(Math.abs(hand.loss.item() / value.item() - 1)).toBeLessThan(1e-12);
          const [gu, gphi] = pullback(ops.add(ops.mul(value, 0), 1)) as [Tensor, Tensor];
          expect(relativeError(hand.u, gu)).toBeLessThan(1e-11);
          expect(relativeError(hand.phi, gphi)).toBeLessThan(1e-11);
        });
      });
    }
  }

  it('the loss of a series is 0 at the model-driven flow', () => {
    tidy(() => {
      const f = picture(16);
      const dt = 0.05;
      const [u, phi] = [[f], [ops.mul(tv.solveRof(f, dt).dual, 0)]];
      for (let k = 0; k < 3; k++) {
        const { y, dual } = tv.solveRof(u[k] as Tensor, dt, { tolerance: 1e-12 });
        u.push(y);
        phi.push(ops.mul(dual, 1 / dt));
      }
      // At t = 0 the flow's own dual field shows that u_1 falls, not that u_0 does: its bracket is left out of the comparison.
      const { temporal, normalisation, initial } = spaceTimeLoss({ u: ops.stack(u, 0), phi: ops.stack(phi, 0) }, f, dt);
      expect(temporal.item()).toBeLessThan(1e-20);
      expect(normalisation.item()).toBeLessThan(1e-12);
      expect(initial.item()).toBe(0);
    });
  });

  it('comes close to the model-driven flow, each image for itself', { timeout: 60_000 }, () => {
    tidy(() => {
      const single = ops.cast(ops.stack([picture(16, 1), picture(16, 2)], 0), 'float32');
      const options = { points: 11, learningRate: 1e-2, iterations: 300, historyEvery: 100 };
      const seen: number[] = [];
      const { u, phi, times, history } = solveSpaceTime(single, { ...options, onIteration: (k) => seen.push(k) });
      expect(u.shape).toEqual([11, 2, 16, 16]);
      expect(phi.shape).toEqual([11, 2, 2, 16, 16]);
      expect(times[10]).toBeCloseTo(1, 12);
      expect(history.map(({ iteration }) => iteration)).toEqual([0, 100, 200, 300]);
      expect(seen).toEqual([100, 200, 300]);
      expect(history[3]!.loss).toBeLessThan(0.02 * history[0]!.loss);
      const reference = models.tvflow.referenceSeries(single, { points: 11, step: 0.1, tolerance: 1e-7 });
      const still = ops.stack(new Array(11).fill(single), 0);
      const [own, identity] = [u, still].map((x) => models.tvflow.scoreSeries(x, reference, 5).psnr) as [number, number];
      expect(own).toBeGreaterThan(identity + 12);
      const alone = solveSpaceTime(ops.narrow(single, 0, 1), options);
      expect(relativeError(ops.narrow(u, 1, 1), alone.u)).toBeLessThan(1e-3);
      const frame = solveSpaceTime(ops.narrow(single, 0, 1), { ...options, iterations: 20, phiBoundary: 'frame' });
      const border = ops.narrow(ops.reshape(ops.narrow(frame.phi, 2, 0, 1), [11, 16, 16]), 1, 0, 1);
      expect(Math.max(...values(ops.abs(border)))).toBe(0);
    });
  });

  it('leaves nothing behind, also when a listener throws', () => {
    const before = memory().tensors;
    const f = ops.cast(picture(8), 'float32');
    const options = { points: 3, iterations: 4, historyEvery: 2 };
    const { u, phi } = solveSpaceTime(f, options);
    expect(() =>
      solveSpaceTime(f, {
        ...options,
        onIteration: () => {
          throw new Error('enough');
        },
      }),
    ).toThrow('enough');
    for (const t of [u, phi, f]) t.dispose();
    // The picture in float64 is left to the collector.
    expect(memory().tensors - before).toBeLessThanOrEqual(1);
  });

  it('refuses what does not fit', () => {
    tidy(() => {
      const f = picture(8);
      expect(() => solveSpaceTime(f, { points: 1 })).toThrow('Expected an integer >= 2 for points but received 1');
      expect(() => solveSpaceTime(f, { endTime: 0 })).toThrow('for endTime but received 0');
      expect(() => solveSpaceTime(f, { iterations: 1.5 })).toThrow('for iterations but received 1.5');
      expect(() => spaceTimeGradient({ u: f, phi: f }, f, 0.1)).toThrow('Expected at least 2 times of shape [8, 8] for u');
    });
  });
});
