/** Variance and normalisation, composed of primitives, and values that count as constants. */
import { bind1, definePrimitive, type Primitive } from '../autodiff/index.js';
import { type Tensor, tidy } from '../tensor/index.js';
import type { ReduceOptions } from './broadcast.js';
import { checkTensor } from './common.js';
import { add, div, sqrt, square, sub } from './elementwise.js';
import { mean } from './reduce.js';

export const stopGradientPrimitive: Primitive<null> = definePrimitive<null>({
  name: 'stopGradient',
  shape: ([x]) => [{ dtype: x!.dtype, shape: x!.shape }],
  kernel: ([x]) => [x!.own()],
});

/** x, taken for a constant by every derivative. */
export function stopGradient(x: Tensor): Tensor {
  return bind1(stopGradientPrimitive, [checkTensor(x)], null);
}

/** The mean of the squared deviations over `axes`. */
export function variance(x: Tensor, options: ReduceOptions = {}): Tensor {
  return tidy(() => {
    return mean(square(sub(x, mean(x, { ...options, keepDims: true }))), options);
  });
}

/** (x - mean) / sqrt(variance + epsilon) over `axes`. */
export function normalize(x: Tensor, axes: readonly number[], epsilon = 1e-5): Tensor {
  return tidy(() => {
    const centred = sub(x, mean(x, { axes, keepDims: true }));
    return div(centred, sqrt(add(mean(square(centred), { axes, keepDims: true }), epsilon)));
  });
}
