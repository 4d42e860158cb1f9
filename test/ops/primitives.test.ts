/**
 * One row per primitive: value against a plain float64 reference, forward mode and reverse mode against central differences, forward and
 * reverse mode against each other, and second derivatives. A primitive without a row fails the first test.
 */
import { describe, expect, it } from 'vitest';
import { bind1 } from '../../src/autodiff/index.js';
import { linalg, ops, type Tensor, tensor, tv } from '../../src/index.js';
import * as allOps from '../../src/ops/index.js';
import { type Fn, normal, values } from '../support/numeric.js';
import { descendProx1d, dualProx2d } from '../support/prox-oracle.js';
import { map1, map2, type Reference, reference } from '../support/reference.js';
import { type Row, testRow } from '../support/rows.js';

const away = (shape: readonly number[], seed: number): Tensor => {
  // Away from 0, where |x| and relu have kinks.
  const x = normal(shape, seed);
  return ops.add(x, ops.mul(ops.sign(x), 0.2));
};
const positive = (shape: readonly number[], seed: number): Tensor => ops.add(ops.exp(normal(shape, seed, 0.5)), 0.2);
const sigmoid = (v: number): number => 1 / (1 + Math.exp(-v));

const unaryRows: [string, Fn, (v: number) => number, ((shape: readonly number[], seed: number) => Tensor)?, boolean?][] = [
  ['neg', ops.neg, (v) => -v],
  ['exp', ops.exp, Math.exp],
  ['log', ops.log, Math.log, positive],
  ['log1p', ops.log1p, Math.log1p, positive],
  ['expm1', ops.expm1, Math.expm1],
  ['sqrt', ops.sqrt, Math.sqrt, positive],
  ['square', ops.square, (v) => v * v],
  ['reciprocal', ops.reciprocal, (v) => 1 / v, positive],
  ['tanh', ops.tanh, Math.tanh],
  ['sigmoid', ops.sigmoid, sigmoid],
  ['softplus', ops.softplus, (v) => Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v)))],
  ['sin', ops.sin, Math.sin],
  ['cos', ops.cos, Math.cos],
  ['abs', ops.abs, Math.abs, away],
  ['relu', ops.relu, (v) => Math.max(v, 0), away],
  ['sign', ops.sign, Math.sign, away, true],
  ['floor', ops.floor, Math.floor, normal, true],
  ['round', ops.round, (v) => Math.round(v), normal, true],
  ['isNaN', ops.isNaN, (v) => (Number.isNaN(v) ? 1 : 0), normal, true],
];

const binaryRows: [string, Fn, (a: number, b: number) => number, number[]?][] = [
  ['add', ops.add as Fn, (a, b) => a + b],
  ['sub', ops.sub as Fn, (a, b) => a - b],
  ['mul', ops.mul as Fn, (a, b) => a * b],
  ['div', ops.div as Fn, (a, b) => a / b],
  ['minimum', ops.minimum as Fn, (a, b) => Math.min(a, b)],
  ['maximum', ops.maximum as Fn, (a, b) => Math.max(a, b)],
  ['maskPositive', ops.maskPositive as Fn, (a, b) => (a > 0 ? b : 0), [1]],
];

const rows: Row[] = [
  ...unaryRows.flatMap(([name, f, g, make = normal, flat = false]): Row[] =>
    [[7], [2, 3, 5]].map((shape) => ({
      covers: name,
      label: `${name} ${shape}`,
      f,
      inputs: () => [make(shape, 11)],
      expected: (x) => map1(x, g),
      ...(flat && { active: [] }),
    })),
  ),
  ...binaryRows.flatMap(([name, f, g, active]): Row[] =>
    (
      [
        [
          [4, 3],
          [4, 3],
        ],
        [
          [2, 1, 3],
          [5, 1],
        ],
        [[3], [2, 3]],
      ] as const
    ).map(([a, b]) => ({
      covers: name,
      label: `${name} ${a} with ${b}`,
      f,
      inputs: () => [away(a, 1), ops.add(away(b, 2), 0.05)],
      expected: (x, y) => map2(x, y, g),
      ...(active && { active }),
    })),
  ),
  {
    covers: 'pow',
    label: 'pow',
    f: ops.pow as Fn,
    inputs: () => [positive([2, 3], 1), normal([3], 2)],
    expected: (x, y) => map2(x, y, Math.pow),
  },
  ...(['eq', 'ne', 'lt', 'le', 'gt', 'ge'] as const).map(
    (name): Row => ({
      covers: name,
      label: name,
      active: [],
      f: (a, b) => ops.cast(ops.compare[name](a as Tensor, b as Tensor), 'float64'),
      inputs: () => [tensor([[1, 2, 3]], { dtype: 'float64' }), tensor([[2], [3]], { dtype: 'float64' })],
      expected: (x, y) => map2(x, y, (a, b) => Number({ eq: a === b, ne: a !== b, lt: a < b, le: a <= b, gt: a > b, ge: a >= b }[name])),
    }),
  ),
  {
    covers: 'select',
    label: 'select',
    f: (a, b) => ops.select(tensor([1, 0, 1], { dtype: 'uint8' }), a as Tensor, b as Tensor),
    inputs: () => [normal([2, 3], 1), normal([3], 2)],
    expected: (x, y) => map2(x, y, (a, b, [, j]) => (j === 1 ? b : a)),
  },
  {
    covers: 'cast',
    label: 'cast',
    active: [],
    f: (x) => ops.cast(ops.cast(x as Tensor, 'int32'), 'float64'),
    inputs: () => [normal([9], 1, 3)],
    expected: (x) => map1(x, Math.trunc),
  },
  {
    covers: 'reshape',
    label: 'reshape',
    f: (x) => ops.reshape(x as Tensor, [3, -1]),
    inputs: () => [normal([2, 3, 5], 1)],
    expected: (x) => ({ shape: [3, 10], data: x.data }),
  },
  {
    covers: 'broadcastTo',
    label: 'broadcastTo',
    f: (x) => ops.broadcastTo(x as Tensor, [4, 2, 3]),
    inputs: () => [normal([2, 1], 1)],
    expected: (x) => reference([4, 2, 3], ([, i]) => x.data[i as number] as number),
  },
  {
    covers: 'sum',
    label: 'sum over the ends',
    f: (x) => ops.sum(x as Tensor, { axes: [0, 2] }),
    inputs: () => [normal([2, 3, 5], 1)],
    expected: (x) => reference([3], ([j]) => sumOver(x, (at) => at[1] === j)),
  },
  {
    covers: 'sum',
    label: 'sum of all',
    f: (x) => ops.sum(x as Tensor),
    inputs: () => [normal([7, 31], 1)],
    expected: (x) => reference([], () => sumOver(x, () => true)),
  },
  {
    covers: 'reduceMax',
    label: 'max',
    f: (x) => ops.max(x as Tensor, { axes: 1, keepDims: true }),
    inputs: () => [normal([3, 5, 2], 1)],
    expected: (x) => reference([3, 1, 2], ([i, , k]) => extremeOver(x, Math.max, (at) => at[0] === i && at[2] === k)),
  },
  {
    covers: 'reduceMin',
    label: 'min',
    f: (x) => ops.min(x as Tensor, { axes: [0, 1] }),
    inputs: () => [normal([3, 5, 2], 1)],
    expected: (x) => reference([2], ([k]) => extremeOver(x, Math.min, (at) => at[2] === k)),
  },
  {
    covers: 'argMax',
    label: 'argMax',
    active: [],
    f: (x) => ops.cast(ops.argMax(x as Tensor, 0), 'float64'),
    inputs: () => [normal([5, 2], 1)],
    expected: (x) =>
      reference([2], ([k]) =>
        [0, 1, 2, 3, 4].reduce(
          (best, i) => ((x.data[2 * i + (k as number)] as number) > (x.data[2 * best + (k as number)] as number) ? i : best),
          0,
        ),
      ),
  },
  ...[false, true].map(
    (reverse): Row => ({
      covers: 'cumsum',
      label: `cumsum${reverse ? ' reversed' : ''}`,
      f: (x) => ops.cumsum(x as Tensor, { axis: 1, reverse }),
      inputs: () => [normal([2, 5, 3], 1)],
      expected: (x) =>
        reference([2, 5, 3], ([i, j, k]) => sumOver(x, (at) => at[0] === i && at[2] === k && (reverse ? at[1]! >= j! : at[1]! <= j!))),
    }),
  ),
  {
    covers: 'transpose',
    label: 'transpose',
    f: (x) => ops.transpose(x as Tensor, [2, 0, 1]),
    inputs: () => [normal([2, 3, 5], 1)],
    expected: (x) => reference([5, 2, 3], ([a, b, c]) => x.data[(b! * 3 + c!) * 5 + a!] as number),
  },
  {
    covers: 'flip',
    label: 'flip',
    f: (x) => ops.flip(x as Tensor, [1]),
    inputs: () => [normal([2, 3, 5], 1)],
    expected: (x) => reference([2, 3, 5], ([i, j, k]) => x.data[(i! * 3 + 2 - j!) * 5 + k!] as number),
  },
  {
    covers: 'slice',
    label: 'slice with step',
    f: (x) => ops.slice(x as Tensor, [1, 0], [2, 3], [2, 3]),
    inputs: () => [normal([5, 8], 1)],
    expected: (x) => reference([2, 3], ([i, j]) => x.data[(1 + 2 * i!) * 8 + 3 * j!] as number),
  },
  {
    covers: 'pad',
    label: 'pad with a gap',
    f: (x) =>
      ops.pad(
        x as Tensor,
        [
          [1, 0],
          [0, 2],
        ],
        { value: 7, interior: [1, 0] },
      ),
    inputs: () => [normal([3, 2], 1)],
    expected: (x) =>
      reference([6, 4], ([i, j]) => ((i! - 1) % 2 === 0 && i! >= 1 && j! < 2 ? (x.data[((i! - 1) / 2) * 2 + j!] as number) : 7)),
  },
  {
    covers: 'concat',
    label: 'concat',
    f: (a, b) => ops.concat([a as Tensor, b as Tensor], 1),
    inputs: () => [normal([2, 3], 1), normal([2, 1], 2)],
    expected: (x, y) => reference([2, 4], ([i, j]) => (j! < 3 ? x.data[i! * 3 + j!] : y.data[i!]) as number),
  },
  ...(
    [
      [false, false],
      [true, false],
      [false, true],
      [true, true],
    ] as const
  ).map(
    ([transposeA, transposeB]): Row => ({
      covers: 'matmul',
      label: `matmul ${transposeA} ${transposeB}`,
      f: (a, b) => ops.matmul(a as Tensor, b as Tensor, { transposeA, transposeB }),
      inputs: () => [normal(transposeA ? [2, 5, 3] : [2, 3, 5], 1), normal(transposeB ? [4, 5] : [5, 4], 2)],
      expected: (x, y) =>
        reference([2, 3, 4], ([n, i, j]) =>
          [0, 1, 2, 3, 4].reduce(
            (s, k) =>
              s +
              (x.data[n! * 15 + (transposeA ? k * 3 + i! : i! * 5 + k)] as number) *
                (y.data[transposeB ? j! * 5 + k : k * 4 + j!] as number),
            0,
          ),
        ),
    }),
  ),
  {
    covers: 'gather',
    label: 'gather',
    f: (x) => ops.gather(x as Tensor, tensor([2, 0, 2], { dtype: 'int32' }), 1),
    inputs: () => [normal([2, 4, 3], 1)],
    expected: (x) => reference([2, 3, 3], ([i, j, k]) => x.data[(i! * 4 + ([2, 0, 2][j!] as number)) * 3 + k!] as number),
  },
  {
    covers: 'scatterAdd',
    label: 'scatterAdd',
    f: (x) => ops.scatterAdd(x as Tensor, tensor([2, 0, 2], { dtype: 'int32' }), 4, 0),
    inputs: () => [normal([3, 2], 1)],
    expected: (x) => reference([4, 2], ([i, k]) => [2, 0, 2].reduce((s, to, j) => s + (to === i ? (x.data[j * 2 + k!] as number) : 0), 0)),
  },
  {
    covers: 'difference',
    label: 'difference',
    f: (x) => ops.difference(x as Tensor, 1),
    inputs: () => [normal([2, 5, 3], 1)],
    expected: (x) =>
      reference([2, 4, 3], ([i, j, k]) => (x.data[(i! * 5 + j! + 1) * 3 + k!] as number) - (x.data[(i! * 5 + j!) * 3 + k!] as number)),
  },
  {
    covers: 'differenceAdjoint',
    label: 'differenceAdjoint',
    f: (x) => ops.differenceAdjoint(x as Tensor, -1),
    inputs: () => [normal([2, 4], 1)],
    expected: (x) =>
      reference([2, 5], ([i, j]) => (j! > 0 ? (x.data[i! * 4 + j! - 1] as number) : 0) - (j! < 4 ? (x.data[i! * 4 + j!] as number) : 0)),
  },
  ...convRows(),
  ...tridiagonalRows(),
  ...convLayerRows(),
  ...proxRows(),
];

function sumOver(x: Reference, keep: (at: number[]) => boolean): number {
  return fold(x, (s, v) => s + v, 0, keep);
}
function extremeOver(x: Reference, f: (a: number, b: number) => number, keep: (at: number[]) => boolean): number {
  return fold(x, (s, v) => (Number.isNaN(s) ? v : f(s, v)), Number.NaN, keep);
}
function fold(x: Reference, f: (s: number, v: number) => number, start: number, keep: (at: number[]) => boolean): number {
  let s = start;
  reference(x.shape, (at, i) => {
    if (keep(at)) s = f(s, x.data[i] as number);
    return 0;
  });
  return s;
}

function convRows(): Row[] {
  const cases: { x: number[]; w: number[]; options: ops.ConvOptions }[] = [
    { x: [2, 3, 7, 5], w: [4, 3, 3, 3], options: { padding: 'same' } },
    {
      x: [1, 2, 9, 8],
      w: [2, 2, 3, 2],
      options: {
        stride: 2,
        padding: [
          [1, 0],
          [0, 2],
        ],
      },
    },
    { x: [1, 4, 6, 7], w: [4, 2, 2, 3], options: { dilation: [2, 1], groups: 2, padding: 1 } },
    { x: [2, 3, 5, 5], w: [3, 1, 3, 3], options: { groups: 3, stride: [1, 2] } },
    { x: [1, 2, 4, 4], w: [3, 2, 1, 1], options: {} },
  ];
  return cases
    .flatMap(({ x: xs, w: ws, options }): Row[] => {
      const label = `${xs} with ${ws} ${JSON.stringify(options)}`;
      return [
        {
          covers: ['convForward', 'convData', 'convWeights'],
          label: `conv2d ${label}`,
          f: (x, w) => ops.conv2d(x as Tensor, w as Tensor, options),
          inputs: () => [normal(xs, 1), normal(ws, 2)],
          expected: (x, w) => plainConv(x, w, options),
        },
      ];
    })
    .concat([
      {
        covers: 'convForward',
        label: 'conv1d',
        f: (x, w) => ops.conv1d(x as Tensor, w as Tensor, { padding: 1, stride: 2 }),
        inputs: () => [normal([2, 3, 9], 1), normal([2, 3, 3], 2)],
        expected: (x, w) => {
          const y = plainConv(
            { shape: [2, 3, 1, 9], data: x.data },
            { shape: [2, 3, 1, 3], data: w.data },
            {
              padding: [
                [0, 0],
                [1, 1],
              ],
              stride: [1, 2],
            },
          );
          return { shape: [2, 2, y.shape[3] as number], data: y.data };
        },
      },
      {
        covers: 'convData',
        label: 'convTranspose2d',
        f: (y, w) => ops.convTranspose2d(y as Tensor, w as Tensor, { stride: 2, padding: 1, outputPadding: 1 }),
        inputs: () => [normal([1, 2, 3, 4], 1), normal([2, 3, 3, 3], 2)],
        expected: (y, w) =>
          reference([1, 3, 6, 8], ([, c, i, j]) => {
            let s = 0;
            for (let o = 0; o < 2; o++)
              for (let a = 0; a < 3; a++)
                for (let b = 0; b < 3; b++) {
                  const [p, q] = [(i! + 1 - a) / 2, (j! + 1 - b) / 2];
                  if (Number.isInteger(p) && Number.isInteger(q) && p >= 0 && p < 3 && q >= 0 && q < 4)
                    s += (y.data[(o * 3 + p) * 4 + q] as number) * (w.data[((o * 3 + c!) * 3 + a) * 3 + b] as number);
                }
            return s;
          }),
      },
    ]);
}

function plainConv(x: Reference, w: Reference, options: ops.ConvOptions): Reference {
  const two = (v: unknown, d: number): [number, number] =>
    v === undefined ? [d, d] : typeof v === 'number' ? [v, v] : (v as [number, number]);
  const [n, cIn, h, width] = x.shape as [number, number, number, number];
  const [cOut, perGroup, kh, kw] = w.shape as [number, number, number, number];
  const [sh, sw] = two(options.stride, 1);
  const [dh, dw] = two(options.dilation, 1);
  const padding =
    options.padding === 'same'
      ? [
          [1, 1],
          [1, 1],
        ]
      : typeof options.padding === 'number'
        ? [
            [options.padding, options.padding],
            [options.padding, options.padding],
          ]
        : ((options.padding ?? [
            [0, 0],
            [0, 0],
          ]) as number[][]);
  const outH = Math.floor((h + padding[0]![0]! + padding[0]![1]! - dh * (kh - 1) - 1) / sh) + 1;
  const outW = Math.floor((width + padding[1]![0]! + padding[1]![1]! - dw * (kw - 1) - 1) / sw) + 1;
  const outPerGroup = cOut / (options.groups ?? 1);
  return reference([n, cOut, outH, outW], ([b, o, i, j]) => {
    let s = 0;
    const first = Math.floor(o! / outPerGroup) * perGroup;
    for (let c = 0; c < perGroup; c++)
      for (let p = 0; p < kh; p++)
        for (let q = 0; q < kw; q++) {
          const [r, t] = [i! * sh + p * dh - padding[0]![0]!, j! * sw + q * dw - padding[1]![0]!];
          if (r >= 0 && r < h && t >= 0 && t < width)
            s +=
              (x.data[((b! * cIn + first + c) * h + r) * width + t] as number) *
              (w.data[((o! * perGroup + c) * kh + p) * kw + q] as number);
        }
    return s;
  });
}

/** Gaussian elimination on the dense matrix. */
function denseSolve(n: number, batch: number, entry: (s: number, i: number, j: number) => number, b: Reference): Reference {
  const data: number[] = [];
  for (let s = 0; s < batch; s++) {
    const a = Array.from({ length: n }, (_, i) => [...Array.from({ length: n }, (_, j) => entry(s, i, j)), b.data[s * n + i] as number]);
    for (let k = 0; k < n; k++) {
      let pivot = k;
      for (let i = k; i < n; i++) if (Math.abs(a[i]![k]!) > Math.abs(a[pivot]![k]!)) pivot = i;
      [a[k], a[pivot]] = [a[pivot]!, a[k]!];
      for (let i = 0; i < n; i++)
        if (i !== k) {
          const m = a[i]![k]! / a[k]![k]!;
          for (let j = k; j <= n; j++) a[i]![j]! -= m * a[k]![j]!;
        }
    }
    for (let i = 0; i < n; i++) data.push(a[i]![n]! / a[i]![i]!);
  }
  return { shape: b.shape, data };
}

function tridiagonalRows(): Row[] {
  const symmetric =
    (d: Reference, e: Reference) =>
    (s: number, i: number, j: number): number =>
      i === j ? d.data[s * 6 + i]! : Math.abs(i - j) === 1 ? e.data[s * 5 + Math.min(i, j)]! : 0;
  return [
    {
      covers: 'ptsv',
      label: 'ptsv',
      f: (d, e, b) => linalg.ptsv(d as Tensor, e as Tensor, b as Tensor),
      inputs: () => [ops.add(positive([2, 6], 1), 3), normal([2, 5], 2), normal([2, 6], 3)],
      expected: (d, e, b) => denseSolve(6, 2, symmetric(d, e), b),
    },
    {
      covers: 'pttrs',
      label: 'pttrs',
      active: [0],
      f: (b) => {
        const d = ops.add(positive([2, 6], 1), 3);
        const { d: dd, l } = linalg.pttrf(d, normal([2, 5], 2));
        return linalg.pttrs(dd, l, b as Tensor);
      },
      inputs: () => [normal([2, 6], 3)],
      expected: (b) => {
        const d = ops.add(positive([2, 6], 1), 3);
        return denseSolve(6, 2, symmetric({ shape: [2, 6], data: values(d) }, { shape: [2, 5], data: values(normal([2, 5], 2)) }), b);
      },
    },
    {
      covers: 'gtsv',
      label: 'gtsv',
      f: (dl, d, du, b) => linalg.gtsv(dl as Tensor, d as Tensor, du as Tensor, b as Tensor),
      inputs: () => [normal([2, 5], 1), ops.add(positive([2, 6], 2), 2), normal([2, 5], 3), normal([2, 6], 4)],
      expected: (dl, d, du, b) =>
        denseSolve(
          6,
          2,
          (s, i, j) => (i === j ? d.data[s * 6 + i]! : j === i + 1 ? du.data[s * 5 + i]! : j === i - 1 ? dl.data[s * 5 + j]! : 0),
          b,
        ),
    },
  ];
}

/** relu(conv + bias), fused: also as the second of two layers, where the data gradient brings the first one's mask along. */
function convLayerRows(): Row[] {
  const layer = (x: Reference, w: Reference, b: Reference, relu: boolean): Reference => {
    const y = plainConv(x, w, { padding: 'same' });
    return {
      shape: y.shape,
      data: y.data.map((v, k) => {
        const z = v + (b.data[Math.floor(k / 20) % 3] as number);
        return relu ? Math.max(z, 0) : z;
      }),
    };
  };
  const covers = ['convLayer', 'convLayerTangent'];
  const rows: Row[] = [false, true].map(
    (relu): Row => ({
      covers,
      label: `convLayer2d ${relu}`,
      f: (x, w, b) => ops.convLayer2d(x as Tensor, w as Tensor, b as Tensor, { padding: 'same', relu }),
      inputs: () => [normal([2, 2, 4, 5], 1), normal([3, 2, 3, 3], 2), normal([3], 3)],
      expected: (x, w, b) => layer(x, w, b, relu),
    }),
  );
  return [
    ...rows,
    {
      covers,
      label: 'two convLayer2d and a use of what lies between',
      f: (x, w, b, v) => {
        const h = ops.convLayer2d(x as Tensor, w as Tensor, b as Tensor, { padding: 'same', relu: true });
        return ops.add(ops.convLayer2d(h, v as Tensor, b as Tensor, { padding: 'same', relu: true }), ops.mul(h, 0.5));
      },
      inputs: () => [normal([1, 2, 4, 5], 1), normal([3, 2, 3, 3], 2), normal([3], 3), normal([3, 3, 3, 3], 4)],
      expected: (x, w, b, v) => {
        const h = layer(x, w, b, true);
        const y = layer(h, v, b, true);
        return { shape: y.shape, data: y.data.map((z, k) => z + 0.5 * (h.data[k] as number)) };
      },
    },
    {
      covers,
      label: 'a chain of convLayer2d',
      f: (x, w, b, v) =>
        ops.convLayer2d(ops.convLayer2d(x as Tensor, w as Tensor, b as Tensor, { padding: 'same', relu: true }), v as Tensor, b as Tensor, {
          padding: 'same',
        }),
      inputs: () => [normal([1, 2, 4, 5], 1), normal([3, 2, 3, 3], 2), normal([3], 3), normal([3, 3, 3, 3], 4)],
      expected: (x, w, b, v) => layer(layer(x, w, b, true), v, b, false),
    },
  ];
}

function proxRows(): Row[] {
  const labels = tensor(
    [
      [0, 0, 2],
      [3, 0, 2],
    ],
    { dtype: 'int32' },
  );
  return [
    ...[false, true].flatMap((weighted): Row[] => {
      // Lines along the middle axis; w is a second input or absent.
      const y = tensor(
        [
          [
            [1, 5, 2, 2],
            [2, 5, 1, 2],
            [2, 4, 1, 3],
          ],
        ],
        { dtype: 'float64' },
      );
      const jump = (e: number, i: number): number =>
        Math.sign(
          [
            [1, 0, -1, 0],
            [0, -1, 0, 1],
          ][e]![i] as number,
        );
      const shape = (v: Tensor, w: Tensor | undefined): Tensor[] => (w ? [y, v, w] : [y, v]);
      const weight = (w: Reference | undefined, e: number, i: number): number => (w ? (w.data[e * 4 + i] as number) : 1);
      const inputs = (n: number) => (): Tensor[] => [normal([1, n, 4], 5), ...(weighted ? [positive([1, 2, 4], 6)] : [])];
      return [
        {
          covers: 'jumpSum',
          label: `jumpSum ${weighted}`,
          f: (a, w) => bind1(allOps.jumpSumPrimitive, shape(a as Tensor, w), { axis: 1 }),
          inputs: inputs(3),
          expected: (a, w) =>
            reference([1, 1, 4], ([, , i]) =>
              [0, 1].reduce(
                (s, e) =>
                  s +
                  weight(w, e, i as number) *
                    jump(e, i as number) *
                    ((a.data[(e + 1) * 4 + i!] as number) - (a.data[e * 4 + i!] as number)),
                0,
              ),
            ),
        },
        {
          covers: 'jumpSpread',
          label: `jumpSpread ${weighted}`,
          f: (v, w) => bind1(allOps.jumpSpreadPrimitive, shape(v as Tensor, w), { axis: 1 }),
          inputs: inputs(1),
          expected: (v, w) =>
            reference(
              [1, 3, 4],
              ([, k, i]) =>
                (v.data[i as number] as number) *
                ((k! > 0 ? weight(w, k! - 1, i!) * jump(k! - 1, i!) : 0) - (k! < 2 ? weight(w, k!, i!) * jump(k!, i!) : 0)),
            ),
        },
      ];
    }),
    // The second derivative vanishes almost everywhere, which the difference of gradients shows too.
    {
      covers: 'prox1d',
      label: 'prox1d',
      f: (x, lambda, weights) => tv.prox1d(x as Tensor, lambda as Tensor, { axis: 1, weights: weights as Tensor }),
      inputs: () => [normal([2, 9, 3], 1), tensor([[[0.3]], [[0.5]]], { dtype: 'float64' }), positive([2, 8, 3], 3)],
      expected: (x, lambda, weights) => descendProx1d(x, lambda, weights),
    },
    {
      covers: 'prox2d',
      label: 'prox2d',
      f: (x, rowsLambda, colsLambda) =>
        tv.prox2d(x as Tensor, 0, { lambdaRows: rowsLambda as Tensor, lambdaCols: colsLambda as Tensor, tolerance: 1e-13 }),
      inputs: () => [normal([2, 6, 5], 1), tensor([0.2, 0.3], { dtype: 'float64' }), tensor(0.25, { dtype: 'float64' })],
      expected: (x, r, c) => dualProx2d(x, r, c),
    },
    {
      covers: 'prox1dAverage',
      label: 'prox1dAverage',
      active: [1],
      f: (y, v) => bindAverage(y as Tensor, v as Tensor),
      inputs: () => [tensor([[1, 1, 2, 2, 2, 1]], { dtype: 'float64' }), normal([1, 6], 2)],
      expected: (_y, v) => reference([1, 6], ([, k]) => mean(v.data.slice(...(k! < 2 ? [0, 2] : k! < 5 ? [2, 5] : [5, 6])))),
    },
    {
      covers: 'componentAverage',
      label: 'componentAverage',
      f: (v) => bind1(allOps.componentAveragePrimitive, [labels, v as Tensor], null),
      inputs: () => [normal([2, 3], 2)],
      expected: (v) =>
        reference([2, 3], ([i, j]) => {
          const l = [
            [0, 0, 2],
            [3, 0, 2],
          ];
          return mean(v.data.filter((_, k) => l[Math.floor(k / 3)]![k % 3] === l[i!]![j!]));
        }),
    },
  ];
}
const mean = (v: number[]): number => v.reduce((a, b) => a + b, 0) / v.length;
const bindAverage = (y: Tensor, v: Tensor): Tensor => bind1(allOps.prox1dAveragePrimitive, [y, v], { axis: 1 });

const primitives = Object.entries({ ...allOps, ...allOps.comparePrimitives }).filter(
  ([name, value]) => name.endsWith('Primitive') || (name in allOps.comparePrimitives && value !== undefined),
);

describe('the table of primitives', () => {
  it('has a row for every primitive', () => {
    const covered = new Set(rows.flatMap((row) => row.covers));
    // The isotropic prox has no derivative yet (its value is tested in test/tv); stopGradient has none on purpose.
    const missing = primitives
      .map(([, p]) => (p as { name: string }).name)
      .filter((name) => !covered.has(name) && !['rof', 'stopGradient'].includes(name));
    expect(missing).toEqual([]);
  });

  for (const row of rows) testRow(row);
});
