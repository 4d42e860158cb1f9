/** Pointwise operators: inpainting and other diagonal ones. */
import { add, cast, checkFloat, checkTensor, div, mul, square } from '../ops/index.js';
import { formatShape, type Tensor } from '../tensor/index.js';
import { LinearOperator } from './operator.js';

/** x → w x, elementwise, of tensors that end in the shape of `weights`. Differentiable in the weights. */
export function diagonal(weights: Tensor): LinearOperator {
  checkFloat(weights, 'weights');
  return pointwise('diagonal', weights);
}

/**
 * Keeps the pixels where the mask is 1, and sets the others to 0.
 * @param mask zeros and ones of any dtype, [height, width] or any other trailing shape
 */
export function inpainting(mask: Tensor): LinearOperator {
  checkTensor(mask, 'mask');
  checkBinary(mask, 'mask');
  return pointwise('inpainting', mask);
}

function pointwise(name: string, weights: Tensor): LinearOperator {
  if (weights.rank === 0) throw new RangeError(`Expected weights of rank >= 1 for ${name} but received a scalar`);
  const kept = weights.own();
  const product = (x: Tensor): Tensor => mul(x, cast(kept, x.dtype));
  return new LinearOperator({
    name,
    inputShape: weights.shape,
    outputShape: weights.shape,
    apply: product,
    adjoint: product,
    gram: (x) => mul(x, square(cast(kept, x.dtype))),
    resolvent: (v, tau) => div(v, add(mul(square(cast(kept, v.dtype)), tau), 1)),
    constants: [kept],
  });
}

/** @throws RangeError unless every entry is 0 or 1 */
export function checkBinary(mask: Tensor, name: string): void {
  for (const value of mask.toTypedArray()) {
    if (value !== 0 && value !== 1) {
      throw new RangeError(`Expected zeros and ones for ${name} of shape ${formatShape(mask.shape)} but received ${value}`);
    }
  }
}
