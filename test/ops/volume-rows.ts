/** Rows of the table of primitives: isotropic total variation, and volumes. */
import { bind1 } from '../../src/autodiff/index.js';
import { kernels } from '../../src/backend/index.js';
import { type Tensor, tensor, tv } from '../../src/index.js';
import * as allOps from '../../src/ops/index.js';
import { normal } from '../support/numeric.js';
import { solveOnGraph } from '../support/prox-oracle.js';
import { type Reference, reference } from '../support/reference.js';
import type { Row } from '../support/rows.js';

const f64 = (v: Parameters<typeof tensor>[0]): Tensor => tensor(v, { dtype: 'float64' });

/** Volumes [batch, 2, 3, 2] with one lambda each. */
function volumes(x: Reference, lambda: Reference): Reference {
  const [D, H, W] = [2, 3, 2];
  const solved = lambda.data.map((bound, b) => {
    const edges: { from: number; to: number; bound: number }[] = [];
    for (let i = 0; i < D * H * W; i++) {
      if (i + H * W < D * H * W) edges.push({ from: i, to: i + H * W, bound });
      if (Math.floor(i / W) % H < H - 1) edges.push({ from: i, to: i + W, bound });
      if (i % W < W - 1) edges.push({ from: i, to: i + 1, bound });
    }
    return solveOnGraph(x.data.slice(b * D * H * W, (b + 1) * D * H * W), edges);
  });
  return reference(x.shape, (_at, flat) => solved[Math.floor(flat / (D * H * W))]![flat % (D * H * W)] as number);
}

export function volumeRows(): Row[] {
  const params = {
    tolerance: 1e-6,
    maxIterations: 1,
    method: kernels.RofMethod.auto,
    dims: 2 as const,
    coupled: false,
    withDual: true,
  };
  return [
    {
      covers: 'prox3d',
      label: 'prox3d',
      f: (x, lambda) => tv.prox3d(x as Tensor, lambda as Tensor, { tolerance: 1e-13 }),
      inputs: () => [normal([2, 2, 3, 2], 1), f64([0.2, 0.3])],
      expected: volumes,
    },
    {
      // Two pixels further apart than 2 lambda move towards each other by lambda. The derivatives: test/tv/rof.test.ts.
      covers: 'rof',
      label: 'rof',
      active: [],
      f: (x) => tv.rof(x as Tensor, 0.3, { tolerance: 1e-13, method: 'fista' }),
      inputs: () => [f64([[[0, 1]], [[5, 2]]])],
      expected: (x) => ({ shape: x.shape, data: [0.3, 0.7, 4.7, 2.3] }),
    },
    {
      // The first image is one component; in the second, a difference along the only axis turns nothing: the identity.
      covers: 'rofDerivative',
      label: 'rofDerivative',
      f: (v) =>
        bind1(
          allOps.rofDerivativePrimitive,
          [
            f64([[[1, 1]], [[0, 3]]]),
            f64([
              [[[0, 0]], [[0.5, 0]]],
              [[[0, 0]], [[1, 0]]],
            ]),
            f64([[[1]], [[1]]]),
            v as Tensor,
          ],
          params,
        ),
      inputs: () => [normal([2, 1, 2], 3)],
      expected: (v) => {
        const mean = ((v.data[0] as number) + (v.data[1] as number)) / 2;
        return { shape: v.shape, data: [mean, mean, v.data[2] as number, v.data[3] as number] };
      },
    },
  ];
}
