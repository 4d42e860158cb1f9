/**
 * Softmax, its logarithm, log Σ exp and cross-entropy along an axis, each in one pass over memory, and their gradients in another. Their
 * derivatives are those of the compositions below; only the number of passes differs.
 */
import { bind, bind1, definePrimitive, jvpFlat, type Primitive } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { arange, checkAxis, formatShape, linesAlong, Tensor, tidy } from '../tensor/index.js';
import { reshape, sum, withOnes, without } from './broadcast.js';
import { checkFloat, checkTensor, code } from './common.js';
import { compare, div, exp, mul, sub } from './elementwise.js';
import { indicesWithin } from './indices.js';
import { cast } from './movement.js';

interface SoftmaxParams {
  axis: number;
  /** The logarithm of the softmax. */
  log: boolean;
}

const flag = (value: boolean): number => (value ? 1 : 0);

export const softmaxPrimitive: Primitive<SoftmaxParams> = definePrimitive<SoftmaxParams>({
  name: 'softmax',
  shape: ([x]) => [{ dtype: x!.dtype, shape: x!.shape }],
  kernel: ([x], { axis, log }) => {
    const y = Tensor.empty(x!.dtype, x!.shape);
    kernels.softmax(code(x!), linesAlong(x!.shape, axis), flag(log), x!.address, y.address);
    return [y];
  },
  jvp: ([x], [dx], params) => {
    const y = bind1(softmaxPrimitive, [x!], params);
    return { outputs: [y], tangents: [bind1(softmaxTangentPrimitive, [y, dx!], params)] };
  },
});

/** The derivative at the result y, linear in v: y (v - Σ y v), or v - Σ e^y v for the logarithm. Inputs: y, v. */
export const softmaxTangentPrimitive: Primitive<SoftmaxParams> = definePrimitive<SoftmaxParams>({
  name: 'softmaxTangent',
  shape: ([y]) => [{ dtype: y!.dtype, shape: y!.shape }],
  // Without the logarithm the derivative is self-adjoint.
  kernel: ([y, v], params) => [params.log ? pushForward(y!, v!, params) : gradientKernel(y!, v!, params)],
  linear: { inputs: [1], transpose: ([ct], [y], params) => [null, bind1(softmaxGradientPrimitive, [y!, ct!], params)] },
  jvp: (primals, tangents, params) => jvpFlat(([y, v]) => [pushForward(y!, v!, params)], primals, tangents),
});

/** Its transpose: y (v - Σ y v), or v - e^y Σ v for the logarithm. Inputs: y, v. */
export const softmaxGradientPrimitive: Primitive<SoftmaxParams> = definePrimitive<SoftmaxParams>({
  name: 'softmaxGradient',
  shape: ([y]) => [{ dtype: y!.dtype, shape: y!.shape }],
  kernel: ([y, v], params) => [gradientKernel(y!, v!, params)],
  linear: { inputs: [1], transpose: ([ct], [y], params) => [null, bind1(softmaxTangentPrimitive, [y!, ct!], params)] },
  jvp: (primals, tangents, params) => jvpFlat(([y, v]) => [pullBack(y!, v!, params)], primals, tangents),
});

function gradientKernel(y: Tensor, v: Tensor, { axis, log }: SoftmaxParams): Tensor {
  const out = Tensor.empty(y.dtype, y.shape);
  kernels.softmaxGradient(code(y), linesAlong(y.shape, axis), flag(log), y.address, v.address, out.address);
  return out;
}

const total = (x: Tensor, axis: number): Tensor => sum(x, { axes: axis, keepDims: true });

function pushForward(y: Tensor, v: Tensor, { axis, log }: SoftmaxParams): Tensor {
  return tidy(() => (log ? sub(v, total(mul(exp(y), v), axis)) : mul(y, sub(v, total(mul(y, v), axis)))));
}

function pullBack(y: Tensor, v: Tensor, { axis, log }: SoftmaxParams): Tensor {
  return tidy(() => (log ? sub(v, mul(exp(y), total(v, axis))) : mul(y, sub(v, total(mul(y, v), axis)))));
}

/** exp(x) / Σ exp(x) along an axis, without overflow. */
export function softmax(x: Tensor, axis = -1): Tensor {
  return bind1(softmaxPrimitive, [checkFloat(x)], { axis: checkAxis(axis, x.rank), log: false });
}

/** x - logSumExp(x) along an axis. */
export function logSoftmax(x: Tensor, axis = -1): Tensor {
  return bind1(softmaxPrimitive, [checkFloat(x)], { axis: checkAxis(axis, x.rank), log: true });
}

interface LineParams {
  axis: number;
}

/**
 * log Σ exp(x) along an axis. Inputs: x, and possibly int32 labels, one per line. Outputs: that minus x at the label, where there are
 * labels, and log Σ exp(x). The last one of two serves the gradient: a constant.
 */
export const logSumExpPrimitive: Primitive<LineParams> = definePrimitive<LineParams>({
  name: 'logSumExp',
  shape: ([x, ...labels], { axis }) => [x!, ...labels].map(() => ({ dtype: x!.dtype, shape: without(x!.shape, [axis]) })),
  kernel: ([x, labels], { axis }) => {
    const [lse, y] = [0, 1].map(() => Tensor.empty(x!.dtype, without(x!.shape, [axis]))) as [Tensor, Tensor];
    const p = linesAlong(x!.shape, axis);
    kernels.logSumExp(code(x!), p, x!.address, labels?.address ?? 0, labels ? y.address : 0, lse.address);
    if (labels) return [y, lse];
    y.dispose();
    return [lse];
  },
  jvp: ([x, ...labels], [dx], params) => {
    const outputs = bind(logSumExpPrimitive, [x!, ...labels], params);
    const tangent = bind1(logSumExpTangentPrimitive, [x!, outputs[outputs.length - 1] as Tensor, dx!, ...labels], params);
    return { outputs, tangents: outputs.map((_, i) => (i === 0 ? tangent : null)) };
  },
});

/** Σ (softmax(x) - (1 at the label)) v along the axis. Inputs: x, log Σ exp(x), v, and possibly labels. */
export const logSumExpTangentPrimitive: Primitive<LineParams> = definePrimitive<LineParams>({
  name: 'logSumExpTangent',
  shape: ([x], { axis }) => [{ dtype: x!.dtype, shape: without(x!.shape, [axis]) }],
  kernel: (inputs, params) => [alongLines(inputs, params)],
  linear: {
    inputs: [2],
    transpose: ([ct], [x, lse, , ...labels], params) => [
      null,
      null,
      bind1(logSumExpGradientPrimitive, [x!, lse!, ct!, ...labels], params),
      ...labels.map(() => null),
    ],
  },
  jvp: (primals, tangents, params) => jvpFlat((inputs) => [alongLines(inputs, params)], primals, tangents),
});

/** (softmax(x) - (1 at the label)) v, one v per line. Inputs: x, log Σ exp(x), v, and possibly labels. */
export const logSumExpGradientPrimitive: Primitive<LineParams> = definePrimitive<LineParams>({
  name: 'logSumExpGradient',
  shape: ([x]) => [{ dtype: x!.dtype, shape: x!.shape }],
  kernel: ([x, lse, v, labels], { axis }) => {
    const out = Tensor.empty(x!.dtype, x!.shape);
    const p = linesAlong(x!.shape, axis);
    kernels.logSumExpGradient(code(x!), p, x!.address, labels?.address ?? 0, lse!.address, v!.address, out.address);
    return [out];
  },
  linear: {
    inputs: [2],
    transpose: ([ct], [x, lse, , ...labels], params) => [
      null,
      null,
      bind1(logSumExpTangentPrimitive, [x!, lse!, ct!, ...labels], params),
      ...labels.map(() => null),
    ],
  },
  jvp: (primals, tangents, params) =>
    jvpFlat(([x, , v, labels]) => [mul(residual(x!, labels, params), reshape(v!, withOnes(x!.shape, [params.axis])))], primals, tangents),
});

function alongLines([x, , v, labels]: readonly Tensor[], params: LineParams): Tensor {
  return tidy(() => sum(mul(residual(x!, labels, params), v!), { axes: params.axis }));
}

/** softmax(x) - (1 at the label) */
function residual(x: Tensor, labels: Tensor | undefined, { axis }: LineParams): Tensor {
  const s = softmax(x, axis);
  if (labels === undefined) return s;
  const classes = x.shape[axis] as number;
  const index = reshape(
    arange(0, classes, 1, 'int32'),
    x.shape.map((_, i) => (i === axis ? classes : 1)),
  );
  return sub(s, cast(compare.eq(reshape(labels, withOnes(x.shape, [axis])), index), x.dtype));
}

/** log Σ exp(x) along an axis, without overflow. */
export function logSumExp(x: Tensor, options: { axis?: number; keepDims?: boolean } = {}): Tensor {
  return tidy(() => {
    const axis = checkAxis(options.axis ?? -1, checkFloat(x).rank);
    const y = bind1(logSumExpPrimitive, [x], { axis });
    return options.keepDims ? reshape(y, withOnes(x.shape, [axis])) : y;
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
    const within = indicesWithin(labels, classes, 'labels');
    return div(sum(bind(logSumExpPrimitive, [logits, within], { axis: 1 })[0] as Tensor), labels.size);
  });
}
