/** Gradient and divergence on the pixel grid (specification of the TV flow §1.1), with the two boundaries of the dual field. */
import { gradientAdjoint, gradientField, mul, neg } from '../../ops/index.js';
import { type DType, formatShape, Tensor, tidy } from '../../tensor/index.js';

/**
 * Where the dual field vanishes. 'natural': where a forward difference leaves the image (the last row of the first component, the last
 * column of the second): the exact Neumann condition. 'frame', as the authors' code has it: differences across the first row (column) count as 0
 * as well, in gradient and divergence alike, so that the two stay adjoint; and a network's φ is 0 on the whole frame of one pixel.
 */
export type PhiBoundary = 'natural' | 'frame';

export function checkBoundary(value: unknown): PhiBoundary {
  if (value !== 'natural' && value !== 'frame')
    throw new TypeError(`Expected 'natural' or 'frame' for phiBoundary but received ${String(value)}`);
  return value;
}

/** [2, h, w] of 0 and 1, 1 where `inside(component, row, column)`. */
function mask(height: number, width: number, dtype: DType, inside: (component: number, row: number, column: number) => boolean): Tensor {
  const values = dtype === 'float64' ? new Float64Array(2 * height * width) : new Float32Array(2 * height * width);
  for (let c = 0, at = 0; c < 2; c++) {
    for (let i = 0; i < height; i++) for (let j = 0; j < width; j++) values[at++] = inside(c, i, j) ? 1 : 0;
  }
  return Tensor.from(values, [2, height, width]);
}

const sides = (x: Tensor): [number, number] => x.shape.slice(-2) as [number, number];

/** 0 where a component differs across the image's border: the first and last row of the first, the first and last column of the second. */
function acrossFrame(field: Tensor): Tensor {
  const [h, w] = sides(field);
  return mask(h, w, field.dtype, (c, i, j) => (c === 0 ? i > 0 && i < h - 1 : j > 0 && j < w - 1));
}

/**
 * Forward differences along rows (first component) and columns (second), 0 at the end of the axis.
 * @param u [..., h, w]
 * @returns [..., 2, h, w]
 */
export function spatialGradient(u: Tensor, boundary: PhiBoundary = 'natural'): Tensor {
  return tidy(() => {
    const g = gradientField(u, 2);
    return boundary === 'natural' ? g : mul(g, acrossFrame(g));
  });
}

/**
 * The negative adjoint of `spatialGradient`: <∇u, φ> = -<u, div φ>. The entries of φ that the boundary sets to 0 do not enter.
 * @param phi [..., 2, h, w]
 * @returns [..., h, w]
 */
export function divergence(phi: Tensor, boundary: PhiBoundary = 'natural'): Tensor {
  return tidy(() => neg(gradientAdjoint(boundary === 'natural' ? phi : mul(phi, acrossFrame(phi)), 2)));
}

/** A network's field with 0 where the boundary wants it: both components on the whole frame, or each at the end of its axis. */
export function restrictField(phi: Tensor, boundary: PhiBoundary): Tensor {
  return tidy(() => {
    const [h, w] = sides(phi);
    const inside = mask(h, w, phi.dtype, (c, i, j) =>
      boundary === 'frame' ? i > 0 && i < h - 1 && j > 0 && j < w - 1 : c === 0 ? i < h - 1 : j < w - 1,
    );
    return mul(phi, inside);
  });
}

/** @throws RangeError unless x is [..., h, w] with at least one pixel */
export function checkPlane(x: Tensor, name: string): void {
  if (x.rank < 2 || x.size === 0)
    throw new RangeError(`Expected at least one pixel and 2 axes for ${name} but received shape ${formatShape(x.shape)}`);
}
