/** Rows of the table of primitives: what total deep variation is made of. */
import { ops, type Tensor } from '../../src/index.js';
import { normal } from '../support/numeric.js';
import { map1, map2, type Reference, reference } from '../support/reference.js';
import type { Row } from '../support/rows.js';

const reflect = (p: number, n: number): number => {
  const k = ((p % (2 * n)) + 2 * n) % (2 * n);
  return k < n ? k : 2 * n - 1 - k;
};
const at = (x: Reference, index: readonly number[]): number =>
  x.data[index.reduce((flat, i, axis) => flat * (x.shape[axis] as number) + i, 0)] as number;

export function tdvRows(): Row[] {
  return [
    {
      covers: 'logStudent',
      label: 'logStudent',
      f: (x) => ops.logStudent(x as Tensor, 2),
      inputs: () => [normal([2, 3, 7], 1)],
      expected: (x) => map1(x, (v) => Math.log1p(2 * v * v) / 4),
    },
    {
      covers: 'logStudent',
      label: 'logStudentSlope',
      f: (x, a) => ops.logStudentSlope(x as Tensor, a as Tensor, 9),
      inputs: () => [normal([19], 1, 0.5), normal([19], 2)],
      expected: (x, a) => map2(x, a, (v, w) => (v / (1 + 9 * v * v)) * w),
    },
    ...[
      { x: [2, 3, 7, 5], w: [4, 3, 3, 3] },
      { x: [1, 2, 1, 4], w: [9, 2, 3, 3] },
      { x: [1, 1, 1, 1], w: [1, 1, 3, 3] },
      { x: [1, 13, 23, 25], w: [12, 13, 3, 3] },
    ].map(
      ({ x: xs, w: ws }): Row => ({
        covers: ['convReplicate', 'convReplicateData', 'convReplicateWeights'],
        label: `convReplicate2d ${xs} with ${ws}`,
        f: (x, w) => ops.convReplicate2d(x as Tensor, w as Tensor),
        inputs: () => [normal(xs, 1), normal(ws, 2)],
        expected: (x, w) => {
          const [n, , h, width] = xs as [number, number, number, number];
          const clamp = (i: number, extent: number): number => Math.min(Math.max(i, 0), extent - 1);
          return reference([n, ws[0] as number, h, width], ([k, o, i, j]) => {
            let sum = 0;
            for (let c = 0; c < (xs[1] as number); c++)
              for (let a = 0; a < 3; a++)
                for (let b = 0; b < 3; b++) sum += at(w, [o!, c, a, b]) * at(x, [k!, c, clamp(i! + a - 1, h), clamp(j! + b - 1, width)]);
            return sum;
          });
        },
      }),
    ),
    {
      covers: 'convReplicateData',
      label: 'convReplicateTranspose2d',
      f: (y, w) => ops.convReplicateTranspose2d(y as Tensor, w as Tensor),
      inputs: () => [normal([1, 2, 3, 4], 1), normal([2, 3, 3, 3], 2)],
      expected: (y, w) => {
        const x = { shape: [1, 3, 3, 4], data: new Array<number>(36).fill(0) };
        reference([2, 3, 3, 4, 3, 3], ([o, c, i, j, a, b]) => {
          const [p, q] = [Math.min(Math.max(i! + a! - 1, 0), 2), Math.min(Math.max(j! + b! - 1, 0), 3)];
          x.data[(c! * 3 + p) * 4 + q]! += at(w, [o!, c!, a!, b!]) * at(y, [0, o!, i!, j!]);
          return 0;
        });
        return x;
      },
    },
    ...[
      [2, 3, 7, 5],
      [1, 1, 21, 40],
      [1, 3, 2],
      [1, 1, 1],
    ].map(
      (shape): Row => ({
        covers: 'scaleBlur',
        label: `scaleBlur ${shape}`,
        f: (x) => ops.scaleBlur(x as Tensor),
        inputs: () => [normal(shape, 1)],
        expected: (x) => {
          const [h, w] = shape.slice(-2) as [number, number];
          const k = [1, 4, 6, 4, 1];
          return reference([...shape.slice(0, -2), h + 2, w + 2], (index) => {
            const [lead, [i, j]] = [index.slice(0, -2), index.slice(-2) as [number, number]];
            let sum = 0;
            for (let a = 0; a < 5; a++)
              for (let b = 0; b < 5; b++) sum += ((k[a]! * k[b]!) / 256) * at(x, [...lead, reflect(i - 3 + a, h), reflect(j - 3 + b, w)]);
            return sum;
          });
        },
      }),
    ),
    {
      covers: 'scaleBlur',
      label: 'scaleBlurAdjoint',
      f: (y) => ops.scaleBlurAdjoint(y as Tensor),
      inputs: () => [normal([2, 9, 30], 1)],
      expected: (y) => {
        const x = { shape: [2, 7, 28], data: new Array<number>(2 * 7 * 28).fill(0) };
        const k = [1, 4, 6, 4, 1];
        reference([2, 9, 30, 5, 5], ([n, i, j, a, b]) => {
          x.data[(n! * 7 + reflect(i! - 3 + a!, 7)) * 28 + reflect(j! - 3 + b!, 28)]! += ((k[a!]! * k[b!]!) / 256) * at(y, [n!, i!, j!]);
          return 0;
        });
        return x;
      },
    },
  ];
}
