/**
 * 3×3 convolutions of stride 1 of images that are extended by their own border pixels (replicate padding, which for one pixel is the
 * symmetric one). As in conv.ts, the three partial adjoints of <y, conv(x, w)> are each other's transposes. Each is the zero-padded kernel
 * and what the frame adds to it, so that no padded copy is made and the adjoints are exact.
 */
import { bind1, definePrimitive, type Primitive } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { formatShape, Tensor } from '../tensor/index.js';
import { checkFloat, code, withFactors } from './common.js';
import { type ConvGeometry, nativeParams } from './conv.js';

type Part = 'x' | 'w' | 'y';

function part(
  name: string,
  output: Part,
  inputs: readonly [Part, Part],
  run: typeof kernels.convForward,
  frame: typeof kernels.convFrameForward,
): Primitive<ConvGeometry> {
  return definePrimitive<ConvGeometry>({
    name,
    shape: ([a], g) => [{ dtype: a!.dtype, shape: g[output] }],
    kernel: ([a, b], g) => {
      const result = Tensor.empty(a!.dtype, g[output]);
      if (result.size > 0) {
        const p = nativeParams(g);
        const both = (first?: number, second?: number): void => {
          run(code(a!), p, first!, second!, result.address);
          if (p.n > 0) frame(code(a!), p.n, p.cIn, p.cOut, p.h, p.w, first!, second!, result.address);
        };
        withFactors([a!, b!], both, true);
      }
      return [result];
    },
    linear: {
      multilinear: true,
      transpose: ([ct], [a, b], g, isLinear) => {
        const values = { [output]: ct!, [inputs[0]]: a!, [inputs[1]]: b! } as Record<Part, Tensor>;
        return inputs.map((wanted, i) => (isLinear(i) ? adjoint(wanted, values, g) : null));
      },
    },
  });
}

export const convReplicatePrimitive = part('convReplicate', 'y', ['x', 'w'], kernels.convForward, kernels.convFrameForward);
export const convReplicateDataPrimitive = part('convReplicateData', 'x', ['y', 'w'], kernels.convData, kernels.convFrameData);
export const convReplicateWeightsPrimitive = part('convReplicateWeights', 'w', ['x', 'y'], kernels.convWeights, kernels.convFrameWeights);

function adjoint(wanted: Part, { x, w, y }: Record<Part, Tensor>, g: ConvGeometry): Tensor {
  if (wanted === 'x') return bind1(convReplicateDataPrimitive, [y, w], g);
  if (wanted === 'w') return bind1(convReplicateWeightsPrimitive, [x, y], g);
  return bind1(convReplicatePrimitive, [x, w], g);
}

function geometry(images: Tensor, w: Tensor, channelAxis: 0 | 1): ConvGeometry {
  checkFloat(images, 'x');
  checkFloat(w, 'w');
  if (w.rank !== 4 || w.shape[2] !== 3 || w.shape[3] !== 3 || w.dtype !== images.dtype) {
    throw new RangeError(`Expected ${images.dtype} weights [c_out, c_in, 3, 3] for w but received ${w.dtype} ${formatShape(w.shape)}`);
  }
  if (images.rank !== 4 || images.shape[1] !== w.shape[channelAxis] || (images.shape[2] as number) < 1 || (images.shape[3] as number) < 1) {
    throw new RangeError(
      `Expected images [n, ${w.shape[channelAxis]}, height, width] for these weights but received shape ${formatShape(images.shape)}`,
    );
  }
  const [n, , height, width] = images.shape as [number, number, number, number];
  const plane = (channels: number): number[] => [n, channels, height, width];
  return {
    x: plane(w.shape[1] as number),
    w: w.shape,
    y: plane(w.shape[0] as number),
    stride: [1, 1],
    padLow: [1, 1],
    dilation: [1, 1],
    groups: 1,
  };
}

/** The 3×3 cross-correlation of images extended by their border pixels. x: [n, c_in, h, w], w: [c_out, c_in, 3, 3] → [n, c_out, h, w]. */
export function convReplicate2d(x: Tensor, w: Tensor): Tensor {
  return bind1(convReplicatePrimitive, [x, w], geometry(x, w, 1));
}

/** The exact adjoint of `convReplicate2d` in x. y: [n, c_out, h, w], w: [c_out, c_in, 3, 3] → [n, c_in, h, w]. */
export function convReplicateTranspose2d(y: Tensor, w: Tensor): Tensor {
  return bind1(convReplicateDataPrimitive, [y, w], geometry(y, w, 0));
}
