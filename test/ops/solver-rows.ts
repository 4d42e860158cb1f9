/** Rows of the table of primitives: tridiagonal systems and the proximal maps. */
import { bind1 } from '../../src/autodiff/index.js';
import { linalg, ops, type Tensor, tensor, tv } from '../../src/index.js';
import * as allOps from '../../src/ops/index.js';
import { normal, positive, values } from '../support/numeric.js';
import { descendProx1d, dualProx2d } from '../support/prox-oracle.js';
import { type Reference, reference } from '../support/reference.js';
import type { Row } from '../support/rows.js';

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

export function tridiagonalRows(): Row[] {
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

export function proxRows(): Row[] {
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
