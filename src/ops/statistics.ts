/** Functions of many values: variance, normalisation, softmax and cross-entropy, composed of primitives. */
import { bind1, definePrimitive, type Primitive } from '../autodiff/index.js';
import { recording } from '../backend/index.js';
import { arange, checkAxis, formatShape, type Tensor, tidy } from '../tensor/index.js';
import { type ReduceOptions, reshape, sum } from './broadcast.js';
import { checkFloat, checkTensor } from './common.js';
import { add, compare, div, exp, log, mul, select, sqrt, square, sub } from './elementwise.js';
import { cast } from './movement.js';
import { max, mean } from './reduce.js';

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

/** x - max(x) along an axis; the maximum cancels in every derivative of what follows, so it is a constant. */
function shifted(x: Tensor, axis: number): { top: Tensor; rest: Tensor } {
  const top = stopGradient(max(x, { axes: axis, keepDims: true }));
  const finite = select(compare.lt(top, Number.POSITIVE_INFINITY), select(compare.gt(top, Number.NEGATIVE_INFINITY), top, 0), 0);
  return { top: finite, rest: sub(x, finite) };
}

/** log Σ exp(x) along an axis, without overflow. */
export function logSumExp(x: Tensor, options: { axis?: number; keepDims?: boolean } = {}): Tensor {
  return tidy(() => {
    const axis = checkAxis(options.axis ?? -1, checkFloat(x).rank);
    const { top, rest } = shifted(x, axis);
    const y = add(log(sum(exp(rest), { axes: axis, keepDims: true })), top);
    return options.keepDims
      ? y
      : reshape(
          y,
          x.shape.filter((_, i) => i !== axis),
        );
  });
}

/** exp(x) / Σ exp(x) along an axis. */
export function softmax(x: Tensor, axis = -1): Tensor {
  return tidy(() => {
    const at = checkAxis(axis, checkFloat(x).rank);
    const e = exp(shifted(x, at).rest);
    return div(e, sum(e, { axes: at, keepDims: true }));
  });
}

/** x - logSumExp(x) along an axis. */
export function logSoftmax(x: Tensor, axis = -1): Tensor {
  return tidy(() => {
    return sub(x, logSumExp(x, { axis, keepDims: true }));
  });
}

/**
 * The mean over all positions of -log softmax(logits)[label].
 * @param logits [n, classes, ...]
 * @param labels int32 [n, ...], each in [0, classes)
 */
export function crossEntropy(logits: Tensor, labels: Tensor): Tensor {
  return tidy(() => {
    checkFloat(logits, 'logits');
    checkTensor(labels, 'labels');
    const classes = logits.shape[1] as number;
    const expected = [logits.shape[0] as number, ...logits.shape.slice(2)];
    if (logits.rank < 2 || labels.dtype !== 'int32' || formatShape(labels.shape) !== formatShape(expected)) {
      throw new RangeError(`Expected int32 labels ${formatShape(expected)} but received ${labels.dtype} ${formatShape(labels.shape)}`);
    }
    // Nothing can be read inside a captured step: its first call has looked.
    for (const label of recording() === null ? labels.toTypedArray() : []) {
      if (label < 0 || label >= classes) throw new RangeError(`Expected labels in [0, ${classes - 1}] but received ${label}`);
    }
    const spread = [labels.shape[0] as number, 1, ...labels.shape.slice(1)];
    const index = reshape(arange(0, classes, 1, 'int32'), [1, classes, ...labels.shape.slice(1).map(() => 1)]);
    const chosen = cast(compare.eq(reshape(labels, spread), index), logits.dtype);
    return div(sum(mul(logSoftmax(logits, 1), chosen)), -labels.size);
  });
}
