/** The anti-aliasing blur before a change of scale, and its adjoint. */
import { bind1, definePrimitive, type Primitive } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { formatShape, type Shape, sizeOf, Tensor } from '../tensor/index.js';
import { checkFloat, code } from './common.js';

/** Forward: image → blurred image with a frame of one pixel; adjoint the other way round. `image` is the shape without the frame. */
interface Params {
  image: Shape;
  adjoint: boolean;
}

const framed = (shape: Shape): number[] => shape.map((n, i) => (i < shape.length - 2 ? n : n + 2));

export const scaleBlurPrimitive: Primitive<Params> = definePrimitive<Params>({
  name: 'scaleBlur',
  shape: ([x], { image, adjoint }) => [{ dtype: x!.dtype, shape: adjoint ? image : framed(image) }],
  kernel: ([x], { image, adjoint }) => {
    const y = Tensor.empty(x!.dtype, adjoint ? image : framed(image));
    const [h, w] = image.slice(-2) as [number, number];
    if (y.size > 0) kernels.scaleBlur(code(x!), sizeOf(image.slice(0, -2)), h, w, adjoint ? 1 : 0, x!.address, y.address);
    return [y];
  },
  linear: { transpose: ([ct], _inputs, { image, adjoint }) => [bind1(scaleBlurPrimitive, [ct!], { image, adjoint: !adjoint })] },
});

function checkImage(x: Tensor, smallest: number): Tensor {
  checkFloat(x);
  if (x.rank < 2 || x.shape.slice(-2).some((n) => n < smallest)) {
    throw new RangeError(`Expected images of at least ${smallest} × ${smallest} pixels for x but received shape ${formatShape(x.shape)}`);
  }
  return x;
}

/**
 * The binomial filter [1 4 6 4 1]² / 256 of images that go on beyond their border as in a mirror (edge pixel repeated).
 * @param x [..., h, w]
 * @returns [..., h + 2, w + 2]: one pixel more on every side, so that a 3×3 kernel can follow without padding
 */
export function scaleBlur(x: Tensor): Tensor {
  return bind1(scaleBlurPrimitive, [checkImage(x, 1)], { image: x.shape, adjoint: false });
}

/** The adjoint of `scaleBlur`: [..., h + 2, w + 2] → [..., h, w]. */
export function scaleBlurAdjoint(y: Tensor): Tensor {
  const image = checkImage(y, 3).shape.map((n, i) => (i < y.rank - 2 ? n : n - 2));
  return bind1(scaleBlurPrimitive, [y], { image, adjoint: true });
}
