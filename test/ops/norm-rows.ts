/** Rows of the table of primitives: normalisation. */
import { ops, type Tensor } from '../../src/index.js';
import { normal, positive } from '../support/numeric.js';
import { type Reference, reference } from '../support/reference.js';
import type { Row } from '../support/rows.js';

/** The numbers of channel c, in order. */
function ofChannel(x: Reference, c: number): number[] {
  const found: number[] = [];
  reference(x.shape, (at, i) => {
    if (at[1] === c) found.push(x.data[i] as number);
    return 0;
  });
  return found;
}

function statistics(v: readonly number[]): { mean: number; variance: number } {
  const mean = v.reduce((a, b) => a + b, 0) / v.length;
  return { mean, variance: v.reduce((s, w) => s + (w - mean) ** 2, 0) / v.length };
}

function batchNormRows(): Row[] {
  // Rows of channels, short and long runs inside a channel, one channel, a channel of several segments.
  const shapes = [
    [7, 3],
    [2, 3, 5],
    [3, 2, 3, 7],
    [2, 9, 21],
    [1, 1, 40],
    [2, 1, 70, 71],
  ];
  return shapes.flatMap((shape) =>
    [false, true].map(
      (relu): Row => ({
        covers: ['batchNorm', 'batchNormTangent', 'batchNormGradient'],
        label: `batchNorm ${shape}${relu ? ' with ReLU' : ''}`,
        f: (x, w, b) => ops.batchNorm(x as Tensor, w as Tensor, b as Tensor, { epsilon: 0.1, relu }).y,
        inputs: () => [ops.add(normal(shape, 3), 0.5), positive([shape[1] as number], 4), normal([shape[1] as number], 5, 0.3)],
        expected: (x, w, b) => {
          const channels = w.data.map((_, c) => statistics(ofChannel(x, c)));
          return reference(x.shape, (at, i) => {
            const c = at[1] as number;
            const { mean, variance } = channels[c]!;
            const y = (((x.data[i] as number) - mean) / Math.sqrt(variance + 0.1)) * (w.data[c] as number) + (b.data[c] as number);
            return relu ? Math.max(y, 0) : y;
          });
        },
      }),
    ),
  );
}

export function normRows(): Row[] {
  return batchNormRows();
}
