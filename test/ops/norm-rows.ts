/** Rows of the table of primitives: normalisation. */
import { ops, type Tensor, tensor } from '../../src/index.js';
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

function layerNormRows(): Row[] {
  const cases: [number[], number[]][] = [
    [[5, 4], [4]],
    [
      [2, 3, 7, 5],
      [7, 5],
    ],
    [[40, 67], [67]],
    [[9], [9]],
  ];
  return cases.map(
    ([shape, last]): Row => ({
      covers: ['layerNorm', 'layerNormTangent', 'layerNormGradient'],
      label: `layerNorm ${shape} over ${last}`,
      f: (x, w, b) => ops.layerNorm(x as Tensor, w as Tensor, b as Tensor, { epsilon: 0.1 }),
      inputs: () => [ops.add(normal(shape, 3), 0.5), positive(last, 4), normal(last, 5, 0.3)],
      expected: (x, w, b) =>
        reference(shape, (_, i) => {
          const [n, k] = [w.data.length, i % w.data.length];
          const { mean, variance } = statistics(x.data.slice(i - k, i - k + n));
          return (((x.data[i] as number) - mean) / Math.sqrt(variance + 0.1)) * (w.data[k] as number) + (b.data[k] as number);
        }),
    }),
  );
}

function softmaxRows(): Row[] {
  // Contiguous lines, shorter and longer than a vector; columns, less than a vector of them, and more than several.
  const shapes: [number[], number][] = [
    [[3, 4], -1],
    [[2, 3, 37], -1],
    [[2, 5, 3], 1],
    [[3, 67], 0],
    [[1, 2, 3, 21], 1],
  ];
  return shapes.flatMap(([shape, axis]): Row[] => {
    const at = (axis + shape.length) % shape.length;
    const lineOf = (x: Reference, index: readonly number[]): number[] => {
      const line: number[] = [];
      reference(x.shape, (other, i) => {
        if (other.every((v, k) => k === at || v === index[k])) line.push(x.data[i] as number);
        return 0;
      });
      return line;
    };
    const logSum = (v: readonly number[]): number => Math.log(v.reduce((s, w) => s + Math.exp(w), 0));
    const reduced = shape.filter((_, i) => i !== at);
    const unreduced = (index: readonly number[]): number[] => [...index.slice(0, at), 0, ...index.slice(at)];
    const classes = shape[at] as number;
    return [
      {
        covers: ['softmax', 'softmaxTangent', 'softmaxGradient'],
        label: `softmax ${shape} along ${axis}`,
        f: (x) => ops.softmax(x as Tensor, axis),
        inputs: () => [normal(shape, 7)],
        expected: (x) => reference(shape, (index, i) => Math.exp((x.data[i] as number) - logSum(lineOf(x, index)))),
      },
      {
        covers: 'softmax',
        label: `logSoftmax ${shape} along ${axis}`,
        f: (x) => ops.logSoftmax(x as Tensor, axis),
        inputs: () => [normal(shape, 8)],
        expected: (x) => reference(shape, (index, i) => (x.data[i] as number) - logSum(lineOf(x, index))),
      },
      {
        covers: ['logSumExp', 'logSumExpTangent', 'logSumExpGradient'],
        label: `logSumExp ${shape} along ${axis}`,
        f: (x) => ops.logSumExp(x as Tensor, { axis }),
        inputs: () => [normal(shape, 9)],
        expected: (x) => reference(reduced, (index) => logSum(lineOf(x, unreduced(index)))),
      },
      ...(at === 1
        ? [
            {
              covers: 'logSumExp',
              label: `crossEntropy ${shape}`,
              f: (x: Tensor) =>
                ops.crossEntropy(
                  x,
                  ops.reshape(
                    tensor(Int32Array.from({ length: reduced.reduce((a, b) => a * b, 1) }, (_, i) => (2 * i + 1) % classes)),
                    reduced,
                  ),
                ),
              inputs: () => [normal(shape, 10)],
              expected: (x: Reference) => {
                const losses: number[] = [];
                reference(reduced, (index, i) => {
                  const line = lineOf(x, unreduced(index));
                  losses.push(logSum(line) - (line[(2 * i + 1) % classes] as number));
                  return 0;
                });
                return reference([], () => losses.reduce((a, b) => a + b, 0) / losses.length);
              },
            } as Row,
          ]
        : []),
    ];
  });
}

export function normRows(): Row[] {
  return [...batchNormRows(), ...layerNormRows(), ...softmaxRows()];
}
