/** Rows of the table of primitives: normalisation, softmax and pooling. */
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

function channelAffineRows(): Row[] {
  const shapes = [
    [7, 35],
    [2, 3, 5],
    [2, 5, 3, 13],
  ];
  return shapes.flatMap((shape) =>
    [false, true].map((relu): Row => {
      const n = [shape[1] as number];
      return {
        covers: 'channelAffine',
        label: `channelAffine ${shape}${relu ? ' with ReLU' : ''}`,
        f: (x, m, s, b) => ops.channelAffine(x as Tensor, m as Tensor, s as Tensor, b as Tensor, { relu }),
        inputs: () => [normal(shape, 3), normal(n, 4), positive(n, 5), normal(n, 6, 0.3)],
        expected: (x, m, s, b) =>
          reference(shape, ([, c], i) => {
            const y = ((x.data[i] as number) - m.data[c!]!) * s.data[c!]! + b.data[c!]!;
            return relu ? Math.max(y, 0) : y;
          }),
      };
    }),
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

function poolRows(): Row[] {
  // Windows side by side, overlapping, padded, with gaps; planes of one row.
  const cases: [number[], ops.PoolOptions][] = [
    [[2, 3, 6, 8], { size: 2 }],
    [[2, 7, 9], { size: [3, 2], stride: [2, 1], padding: 1 }],
    [[1, 2, 11, 10], { size: 2, stride: 3 }],
    [[1, 1, 1, 40], { size: [1, 5], stride: 1, padding: [0, 2] }],
  ];
  const two = (v: ops.PerAxis | undefined, d: readonly number[]): readonly number[] =>
    v === undefined ? d : typeof v === 'number' ? [v, v] : v;
  return cases.flatMap(([shape, options]): Row[] => {
    const [h, w] = shape.slice(-2) as [number, number];
    const [kh, kw] = two(options.size, []) as [number, number];
    const [sh, sw] = two(options.stride, [kh, kw]) as [number, number];
    const [ph, pw] = two(options.padding, [0, 0]) as [number, number];
    const [oh, ow] = [Math.floor((h + 2 * ph - kh) / sh) + 1, Math.floor((w + 2 * pw - kw) / sw) + 1];
    const out = [...shape.slice(0, -2), oh, ow];
    const pooled = (x: Reference, combine: (window: number[]) => number): Reference =>
      reference(out, (_, q) => {
        const [plane, i, j] = [Math.floor(q / (oh * ow)), Math.floor(q / ow) % oh, q % ow];
        const window: number[] = [];
        for (let r = Math.max(i * sh - ph, 0); r < Math.min(i * sh - ph + kh, h); r++)
          for (let c = Math.max(j * sw - pw, 0); c < Math.min(j * sw - pw + kw, w); c++)
            window.push(x.data[(plane * h + r) * w + c] as number);
        return combine(window);
      });
    return [
      {
        covers: ['maxPool', 'maxPoolPick', 'maxPoolSpread'],
        label: `maxPool2d ${shape} ${JSON.stringify(options)}`,
        f: (x) => ops.maxPool2d(x as Tensor, options),
        inputs: () => [normal(shape, 13)],
        expected: (x) => pooled(x, (window) => Math.max(...window)),
      },
      {
        covers: 'averagePool',
        label: `averagePool2d ${shape} ${JSON.stringify(options)}`,
        f: (x) => ops.averagePool2d(x as Tensor, options),
        inputs: () => [normal(shape, 14)],
        expected: (x) => pooled(x, (window) => window.reduce((a, b) => a + b, 0) / (kh * kw)),
      },
    ];
  });
}

export function normRows(): Row[] {
  return [...poolRows(), ...batchNormRows(), ...channelAffineRows(), ...layerNormRows(), ...softmaxRows()];
}
