/** Rows of the table of primitives: convolutions. */
import { ops, type Tensor } from '../../src/index.js';
import { normal } from '../support/numeric.js';
import { type Reference, reference } from '../support/reference.js';
import type { Row } from '../support/rows.js';

export function convRows(): Row[] {
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

/** relu(conv + bias), fused: also as the second of two layers, where the data gradient brings the first one's mask along. */
export function convLayerRows(): Row[] {
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
