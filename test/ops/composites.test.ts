/** Operations composed of primitives: the same checks as for the primitives themselves. */
import { describe, expect, it } from 'vitest';
import { grad, ops, type Tensor, tensor } from '../../src/index.js';
import { normal, values } from '../support/numeric.js';
import { type Reference, reference } from '../support/reference.js';
import { type Row, testRow } from '../support/rows.js';

const at2 = (x: Reference, i: number, j: number): number => x.data[i * (x.shape[1] as number) + j] as number;

/** The extended line that each mode promises, written out. */
const extended: Record<Exclude<ops.PaddingMode, 'zero'>, string> = {
  replicate: 'aaabcddd',
  symmetric: 'baabcddc',
  reflect: 'cbabcdcb',
  circular: 'cdabcdab',
};

function padRows(): Row[] {
  const rows = Object.entries(extended).map(
    ([mode, line]): Row => ({
      covers: [],
      label: `padMode ${mode}`,
      f: (x) => ops.padMode(x as Tensor, [[2, 2]], mode as ops.PaddingMode),
      inputs: () => [normal([3, 4], 1)],
      expected: (x) => reference([3, 8], ([i, j]) => at2(x, i as number, line.charCodeAt(j as number) - 97)),
    }),
  );
  return [
    ...rows,
    ...Object.entries(extended).map(
      ([mode, line]): Row => ({
        covers: [],
        label: `foldMode ${mode}`,
        f: (y) => ops.foldMode(y as Tensor, [[2, 2]], mode as ops.PaddingMode),
        inputs: () => [normal([3, 8], 1)],
        expected: (y) =>
          reference([3, 4], ([i, j]) =>
            [...line].reduce((sum, letter, k) => sum + (letter.charCodeAt(0) - 97 === j ? at2(y, i as number, k) : 0), 0),
          ),
      }),
    ),
    {
      covers: [],
      label: 'foldMode zero',
      f: (y) =>
        ops.foldMode(
          y as Tensor,
          [
            [1, 2],
            [0, 1],
          ],
          'zero',
        ),
      inputs: () => [normal([5, 4], 1)],
      expected: (y) => reference([2, 3], ([i, j]) => at2(y, (i as number) + 1, j as number)),
    },
    ...([2, -1, 7] as const).map(
      (shift): Row => ({
        covers: [],
        label: `roll by ${shift}`,
        f: (x) => ops.roll(x as Tensor, shift, 0),
        inputs: () => [normal([5, 2], 1)],
        expected: (x) => reference([5, 2], ([i, j]) => at2(x, ((((i as number) - shift) % 5) + 5) % 5, j as number)),
      }),
    ),
    {
      covers: [],
      label: 'padMode symmetric beyond the extent, two axes',
      f: (x) =>
        ops.padMode(
          x as Tensor,
          [
            [3, 0],
            [1, 5],
          ],
          'symmetric',
        ),
      inputs: () => [normal([2, 3], 2)],
      expected: (x) =>
        reference([5, 9], ([i, j]) => at2(x, [1, 1, 0, 0, 1][i as number] as number, [0, 0, 1, 2, 2, 1, 0, 0, 1][j as number] as number)),
    },
    {
      covers: [],
      label: 'padMode zero',
      f: (x) =>
        ops.padMode(
          x as Tensor,
          [
            [1, 0],
            [0, 1],
          ],
          'zero',
        ),
      inputs: () => [normal([2, 2], 3)],
      expected: (x) => reference([3, 3], ([i, j]) => ((i as number) > 0 && (j as number) < 2 ? at2(x, (i as number) - 1, j as number) : 0)),
    },
  ];
}

function poolRows(): Row[] {
  const cases: [string, ops.PoolOptions, number[]][] = [
    ['2', { size: 2 }, [3, 2]],
    ['3 by 2, stride 2 by 1, padded', { size: [3, 2], stride: [2, 1], padding: 1 }, [4, 6]],
  ];
  return cases.flatMap(([label, options, out]): Row[] => {
    const two = (v: ops.PerAxis | undefined, d: readonly number[]): readonly number[] =>
      v === undefined ? d : typeof v === 'number' ? [v, v] : v;
    const [kh, kw] = two(options.size, []) as [number, number];
    const [sh, sw] = two(options.stride, [kh, kw]) as [number, number];
    const [ph, pw] = two(options.padding, [0, 0]) as [number, number];
    const window = (x: Reference, i: number, j: number, outside: number): number[] => {
      const found: number[] = [];
      for (let a = 0; a < kh; a++) {
        for (let b = 0; b < kw; b++) {
          const [r, c] = [i * sh + a - ph, j * sw + b - pw];
          found.push(r >= 0 && r < 7 && c >= 0 && c < 5 ? at2(x, r, c) : outside);
        }
      }
      return found;
    };
    const make = (name: string, f: (x: Tensor) => Tensor, outside: number, combine: (v: number[]) => number): Row => ({
      covers: [],
      label: `${name} ${label}`,
      f: (x) => f(x as Tensor),
      inputs: () => [normal([7, 5], 4)],
      expected: (x) => reference(out, ([i, j]) => combine(window(x, i as number, j as number, outside))),
    });
    return [
      make(
        'maxPool2d',
        (x) => ops.maxPool2d(x, options),
        Number.NEGATIVE_INFINITY,
        (v) => Math.max(...v),
      ),
      make(
        'averagePool2d',
        (x) => ops.averagePool2d(x, options),
        0,
        (v) => v.reduce((s, w) => s + w, 0) / v.length,
      ),
    ];
  });
}

function resizeRows(): Row[] {
  const weightsOf = (n: number, m: number, alignCorners: boolean): number[][] =>
    Array.from({ length: m }, (_, i) => {
      const place = alignCorners ? (i * (n - 1)) / (m - 1) : ((i + 0.5) * n) / m - 0.5;
      return Array.from({ length: n }, (_v, k) => Math.max(0, 1 - Math.abs(Math.min(n - 1, Math.max(0, place)) - k)));
    });
  return [
    ...[false, true].flatMap((alignCorners) =>
      (
        [
          [7, 9],
          [2, 3],
        ] as const
      ).map(
        (size): Row => ({
          covers: [],
          label: `resize2d bilinear to ${size} ${alignCorners}`,
          f: (x) => ops.resize2d(x as Tensor, { size, alignCorners }),
          inputs: () => [normal([4, 5], 5)],
          expected: (x) => {
            const [p, q] = [weightsOf(4, size[0], alignCorners), weightsOf(5, size[1], alignCorners)];
            return reference(size, ([i, j]) =>
              x.data.reduce((s, v, k) => s + v * (p[i as number]![Math.floor(k / 5)] as number) * (q[j as number]![k % 5] as number), 0),
            );
          },
        }),
      ),
    ),
    {
      covers: [],
      label: 'resize2d nearest',
      f: (x) => ops.resize2d(x as Tensor, { size: [4, 9], mode: 'nearest' }),
      inputs: () => [normal([2, 3], 6)],
      expected: (x) => reference([4, 9], ([i, j]) => at2(x, Math.floor((i as number) / 2), Math.floor((j as number) / 3))),
    },
  ];
}

const softmaxOf = (v: number[]): number[] => {
  const e = v.map(Math.exp);
  const total = e.reduce((a, b) => a + b, 0);
  return e.map((w) => w / total);
};
const rowOf = (x: Reference, i: number): number[] => x.data.slice(i * 4, i * 4 + 4);

/** The transform written out, over the last axis of [2, n]; part 0 is real, part 1 imaginary. */
function plainDft(re: Reference, im: Reference | null, sign: number, scale: number, part: 0 | 1): Reference {
  const n = re.shape[1] as number;
  return reference([2, n], ([r, k]) => {
    let s = 0;
    for (let j = 0; j < n; j++) {
      const angle = (sign * 2 * Math.PI * ((j * (k as number)) % n)) / n;
      const [x, y] = [at2(re, r as number, j), im ? at2(im, r as number, j) : 0];
      s += part === 0 ? x * Math.cos(angle) - y * Math.sin(angle) : x * Math.sin(angle) + y * Math.cos(angle);
    }
    return s * scale;
  });
}

function fourierRows(): Row[] {
  const part = (z: { re: Tensor; im: Tensor }, k: 0 | 1): Tensor => (k === 0 ? z.re : z.im);
  return [1, 5, 8].flatMap((n) =>
    ([0, 1] as const).flatMap((k): Row[] => [
      {
        covers: [],
        label: `fft of ${n}, part ${k}`,
        f: (re, im) => part(ops.fft({ re: re as Tensor, im: im as Tensor }), k),
        inputs: () => [normal([2, n], 20), normal([2, n], 21)],
        expected: (re, im) => plainDft(re, im, -1, 1, k),
      },
      {
        covers: [],
        label: `ifft of ${n}, part ${k}`,
        f: (re, im) => part(ops.ifft({ re: re as Tensor, im: im as Tensor }), k),
        inputs: () => [normal([2, n], 22), normal([2, n], 23)],
        expected: (re, im) => plainDft(re, im, 1, 1 / n, k),
      },
      {
        covers: [],
        label: `fft of a real line of ${n}, part ${k}`,
        f: (re) => part(ops.fft(re as Tensor, { norm: 'ortho' }), k),
        inputs: () => [normal([2, n], 24)],
        expected: (re) => plainDft(re, null, -1, 1 / Math.sqrt(n), k),
      },
    ]),
  );
}

const rows: Row[] = [
  ...fourierRows(),
  ...padRows(),
  ...poolRows(),
  ...resizeRows(),
  {
    covers: [],
    label: 'softmax',
    f: (x) => ops.softmax(x as Tensor),
    inputs: () => [normal([3, 4], 7)],
    expected: (x) => reference([3, 4], ([i, j]) => softmaxOf(rowOf(x, i as number))[j as number] as number),
  },
  {
    covers: [],
    label: 'logSoftmax',
    f: (x) => ops.logSoftmax(x as Tensor),
    inputs: () => [normal([3, 4], 8)],
    expected: (x) => reference([3, 4], ([i, j]) => Math.log(softmaxOf(rowOf(x, i as number))[j as number] as number)),
  },
  {
    covers: [],
    label: 'logSumExp',
    f: (x) => ops.logSumExp(x as Tensor),
    inputs: () => [normal([3, 4], 9)],
    expected: (x) => reference([3], ([i]) => Math.log(rowOf(x, i as number).reduce((s, v) => s + Math.exp(v), 0))),
  },
  {
    covers: [],
    label: 'crossEntropy',
    f: (x) =>
      ops.crossEntropy(
        x as Tensor,
        tensor(
          [
            [1, 3],
            [0, 2],
          ],
          { dtype: 'int32' },
        ),
      ),
    inputs: () => [normal([2, 4, 2], 10)],
    expected: (x) => {
      const logits = (n: number, p: number): number[] => [0, 1, 2, 3].map((c) => x.data[(n * 4 + c) * 2 + p] as number);
      const loss = [
        [1, 3],
        [0, 2],
      ].flatMap((labels, n) => labels.map((label, p) => -Math.log(softmaxOf(logits(n, p))[label] as number)));
      return reference([], () => loss.reduce((a, b) => a + b, 0) / 4);
    },
  },
  {
    covers: [],
    label: 'variance',
    f: (x) => ops.variance(x as Tensor, { axes: 1 }),
    inputs: () => [normal([3, 4], 11)],
    expected: (x) =>
      reference([3], ([i]) => {
        const v = rowOf(x, i as number);
        const m = v.reduce((a, b) => a + b, 0) / 4;
        return v.reduce((s, w) => s + (w - m) ** 2, 0) / 4;
      }),
  },
  {
    covers: [],
    label: 'normalize',
    f: (x) => ops.normalize(x as Tensor, [1], 0.1),
    inputs: () => [normal([3, 4], 12)],
    expected: (x) =>
      reference([3, 4], ([i, j]) => {
        const v = rowOf(x, i as number);
        const m = v.reduce((a, b) => a + b, 0) / 4;
        return ((v[j as number] as number) - m) / Math.sqrt(v.reduce((s, w) => s + (w - m) ** 2, 0) / 4 + 0.1);
      }),
  },
];

describe('composed operations', () => {
  for (const row of rows) testRow(row);

  it('do not overflow', () => {
    const big = tensor([[1000, 1001, -1000]], { dtype: 'float64' });
    expect(ops.logSumExp(big).toArray()).toEqual([1001 + Math.log1p(Math.exp(-1))]);
    expect(values(ops.softmax(big))[2]).toBe(0);
    expect(values(ops.softmax(tensor([[Number.NEGATIVE_INFINITY, 0]])))).toEqual([0, 1]);
  });

  it('fft: long and prime lines, several axes, and back', () => {
    for (const n of [1024, 1536, 2048, 1031, 3 * 1031]) {
      const re = normal([2, n], n);
      const want = plainDft({ shape: re.shape, data: values(re) }, null, -1, 1, 0);
      const got = values(ops.fft(re).re);
      got.forEach((v, i) => {
        expect(Math.abs(v - (want.data[i] as number))).toBeLessThan(1e-11 * n);
      });
    }
    const z = { re: normal([2, 6, 5, 3], 30), im: normal([2, 6, 5, 3], 31) };
    const there = ops.fft(z, { axes: [1, 2] });
    const alone = ops.fft(ops.fft(z, { axes: 2 }), { axes: 1 });
    const back = ops.ifft(there, { axes: [1, 2] });
    for (const [a, b] of [
      [there.im, alone.im],
      [back.re, z.re],
      [back.im, z.im],
    ] as const) {
      values(a).forEach((v, i) => {
        expect(v).toBeCloseTo(values(b)[i] as number, 12);
      });
    }
    expect(() => ops.fft({ re: z.re, im: normal([2], 1) })).toThrow(/parts of equal shape/);
  });

  it('stopGradient stops, and only there', () => {
    const x = tensor([2], { dtype: 'float64' });
    expect(grad((v: Tensor) => ops.sum(ops.mul(ops.stopGradient(v), v)))(x).item()).toBe(2);
  });

  it('refuse what does not fit', () => {
    const x = tensor([
      [1, 2],
      [3, 4],
    ]);
    expect(() => ops.padMode(x, [[1, 1]], 'wrap' as never)).toThrow(/for mode but received wrap/);
    expect(() => ops.padMode(x, [[-1, 1]], 'zero')).toThrow(/widths/);
    expect(() => ops.maxPool2d(x, { size: 3 })).toThrow(/at least as large as the window/);
    expect(() => ops.averagePool2d(x, { size: 2, padding: 2 })).toThrow(/half the window/);
    expect(() => ops.resize2d(x, { size: [0, 2] })).toThrow(/size/);
    expect(() => ops.crossEntropy(x, tensor([0, 2], { dtype: 'int32' }))).toThrow(/labels in \[0, 1\]/);
  });
});
