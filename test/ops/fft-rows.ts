/** Rows of the table of primitives: the fast Fourier transform against the sum that defines it. */
import { bind } from '../../src/autodiff/index.js';
import { ops, type Tensor } from '../../src/index.js';
import { fftPrimitive } from '../../src/ops/index.js';
import { normal } from '../support/numeric.js';
import { type Reference, reference } from '../support/reference.js';
import type { Row } from '../support/rows.js';

/** [shape, axis]: every radix, lines side by side and end to end, fewer and more of them than a vector has lanes. */
const CASES: [number[], number][] = [
  [[3, 1], 1],
  [[2, 8], 1],
  [[19, 12], 1],
  [[5, 26, 3], 1],
  [[2, 15, 18], 1],
  [[21, 4], 0],
];

export function fftRows(): Row[] {
  return CASES.flatMap(([shape, axis], i): Row[] => {
    const direction = i % 2 === 0 ? -1 : 1;
    const real = i === 3;
    return [
      {
        covers: 'fft',
        label: `fft ${shape} along ${axis}, direction ${direction}`,
        f: (re, im) =>
          ops.stack(bind(fftPrimitive, real ? [re as Tensor] : [re as Tensor, im as Tensor], { axis, direction, scale: 0.5 }), 0),
        inputs: () => (real ? [normal(shape, 1)] : [normal(shape, 1), normal(shape, 2)]),
        expected: (re: Reference, im?: Reference) => {
          const n = shape[axis] as number;
          const step = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
          const size = shape.reduce((a, b) => a * b, 1);
          return reference([2, ...shape], (index, flat) => {
            const k = index[axis + 1] as number;
            const start = (flat % size) - k * step;
            let sum = 0;
            for (let j = 0; j < n; j++) {
              const angle = (2 * Math.PI * direction * j * k) / n;
              const [a, b] = [re.data[start + j * step] as number, im?.data[start + j * step] ?? 0];
              sum += index[0] === 0 ? a * Math.cos(angle) - b * Math.sin(angle) : a * Math.sin(angle) + b * Math.cos(angle);
            }
            return 0.5 * sum;
          });
        },
      },
    ];
  });
}
