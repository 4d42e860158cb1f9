/** The parallel-beam Radon transform and its adjoint as primitives: each is the other's transpose. */
import { bind1, definePrimitive, type Primitive } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { sizeOf, Tensor } from '../tensor/index.js';
import { code } from './common.js';

export interface RadonGeometry {
  height: number;
  width: number;
  detectors: number;
  /** Distance of neighbouring detectors in pixels. */
  spacing: number;
}

const lead = (x: Tensor): number[] => x.shape.slice(0, -2);

const nativeRadon = (x: Tensor, angles: Tensor, { height, width, detectors }: RadonGeometry): kernels.RadonParams => ({
  batch: sizeOf(lead(x)),
  height,
  width,
  views: angles.size,
  detectors,
});

/** Inputs: x [..., height, width]; angles, float64 [views], in radians. Result: [..., views, detectors]. */
export const radonPrimitive: Primitive<RadonGeometry> = definePrimitive<RadonGeometry>({
  name: 'radon',
  shape: ([x, angles], { detectors }) => [{ dtype: x!.dtype, shape: [...x!.shape.slice(0, -2), angles!.shape[0] as number, detectors] }],
  kernel: ([x, angles], geometry) => {
    const y = Tensor.empty(x!.dtype, [...lead(x!), angles!.size, geometry.detectors]);
    if (y.size > 0)
      kernels.radonForward(code(x!), nativeRadon(x!, angles!, geometry), geometry.spacing, angles!.address, x!.address, y.address);
    return [y];
  },
  linear: { inputs: [0], transpose: ([ct], [, angles], geometry) => [bind1(radonAdjointPrimitive, [ct!, angles!], geometry), null] },
});

/** Inputs: y [..., views, detectors]; angles. Result: [..., height, width]. */
export const radonAdjointPrimitive: Primitive<RadonGeometry> = definePrimitive<RadonGeometry>({
  name: 'radonAdjoint',
  shape: ([y], { height, width }) => [{ dtype: y!.dtype, shape: [...y!.shape.slice(0, -2), height, width] }],
  kernel: ([y, angles], geometry) => {
    const x = Tensor.empty(y!.dtype, [...lead(y!), geometry.height, geometry.width]);
    if (x.size > 0)
      kernels.radonAdjoint(code(y!), nativeRadon(y!, angles!, geometry), geometry.spacing, angles!.address, y!.address, x.address);
    return [x];
  },
  linear: { inputs: [0], transpose: ([ct], [, angles], geometry) => [bind1(radonPrimitive, [ct!, angles!], geometry), null] },
});
