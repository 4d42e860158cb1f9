/** Rows of the table of primitives: the Radon transform and its adjoint against the dense matrix, written out ray by ray. */
import { bind1 } from '../../src/autodiff/index.js';
import { type Tensor, tensor } from '../../src/index.js';
import { type RadonGeometry, radonAdjointPrimitive, radonPrimitive } from '../../src/ops/index.js';
import { normal } from '../support/numeric.js';
import { type Reference, reference } from '../support/reference.js';
import type { Row } from '../support/rows.js';

/** Angles in every octant, the axes and the diagonal among them. */
const ANGLES = [0, Math.PI / 4, Math.PI / 2, 0.3, 1.2, 1.9, 2.6, Math.PI, -0.7, 4.1];

/** The weight of pixel (row, column) in the ray of detector d at an angle: Joseph's method. */
export function rayWeight(g: RadonGeometry, angle: number, d: number, row: number, column: number): number {
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  const [x, y] = [column - (g.width - 1) / 2, (g.height - 1) / 2 - row]; // y points up
  const place = g.spacing * (d - (g.detectors - 1) / 2);
  // The ray { x c + y s = place } meets the pixel's row at x = (place - y s) / c, its column at y = (place - x c) / s.
  const across = Math.abs(c) >= Math.abs(s);
  const distance = across ? x - (place - y * s) / c : y - (place - x * c) / s;
  return Math.max(0, 1 - Math.abs(distance)) / Math.abs(across ? c : s);
}

export function radonRows(): Row[] {
  const directions = (): Tensor => tensor(Float64Array.from(ANGLES));
  return [
    { height: 6, width: 5, detectors: 9, spacing: 1 },
    { height: 5, width: 19, detectors: 33, spacing: 0.6 }, // several detectors per pixel, more pixels than a vector has lanes
    { height: 4, width: 6, detectors: 4, spacing: 2.7 }, // detectors too far apart for a window
  ].flatMap((g): Row[] => {
    const weights = (a: number, d: number, i: number, j: number): number => rayWeight(g, ANGLES[a] as number, d, i, j);
    const pixels = Array.from({ length: g.height * g.width }, (_, p) => [Math.floor(p / g.width), p % g.width] as const);
    return [
      {
        covers: 'radon',
        label: `radon ${g.height} x ${g.width}, spacing ${g.spacing}`,
        f: (x) => bind1(radonPrimitive, [x as Tensor, directions()], g),
        inputs: () => [normal([2, g.height, g.width], 1)],
        expected: (x: Reference) =>
          reference([2, ANGLES.length, g.detectors], ([b, a, d]) =>
            pixels.reduce((sum, [i, j]) => sum + weights(a!, d!, i, j) * (x.data[(b! * g.height + i) * g.width + j] as number), 0),
          ),
      },
      {
        covers: 'radonAdjoint',
        label: `radonAdjoint ${g.height} x ${g.width}, spacing ${g.spacing}`,
        f: (y) => bind1(radonAdjointPrimitive, [y as Tensor, directions()], g),
        inputs: () => [normal([2, ANGLES.length, g.detectors], 2)],
        expected: (y: Reference) =>
          reference([2, g.height, g.width], ([b, i, j]) => {
            let sum = 0;
            for (let a = 0; a < ANGLES.length; a++)
              for (let d = 0; d < g.detectors; d++)
                sum += weights(a, d, i!, j!) * (y.data[(b! * ANGLES.length + a) * g.detectors + d] as number);
            return sum;
          }),
      },
    ];
  });
}
