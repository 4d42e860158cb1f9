/**
 * Batch norm with the batch's own statistics, with or without a ReLU, in one pass over memory, and its gradient in another. The derivative
 * is that of the composition below; only the number of passes differs.
 */
import { bind, bind1, definePrimitive, jvpFlat, type Primitive, type Tangent } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { formatShape, linesAlong, Tensor, tidy } from '../tensor/index.js';
import { broadcastTo, reshape, sum } from './broadcast.js';
import { checkFloat, code } from './common.js';
import { add, div, maskPositive, mul, sqrt, square, sub } from './elementwise.js';
import { mean } from './reduce.js';

interface NormParams {
  epsilon: number;
  relu: boolean;
}

/** Inputs: x [n, c, ...], weight [c], bias [c]. Outputs: y like x, and the statistics, mean [c] and variance [c], without a derivative. */
export const batchNormPrimitive: Primitive<NormParams> = definePrimitive<NormParams>({
  name: 'batchNorm',
  shape: ([x, weight]) => [x!, weight!, weight!].map(({ dtype, shape }) => ({ dtype, shape })),
  kernel: ([x, weight, bias], { epsilon, relu }) => {
    const [y, m, v] = [x!, weight!, weight!].map((like) => Tensor.empty(x!.dtype, like.shape)) as [Tensor, Tensor, Tensor];
    const [p, at] = [linesAlong(x!.shape, 1), [x!, weight!, bias!, y, m, v].map((t) => t.address)];
    kernels.batchNorm(code(x!), p, epsilon, relu ? 1 : 0, ...(at as [number, number, number, number, number, number]));
    return [y, m, v];
  },
  jvp: (primals, tangents, params) => {
    const outputs = bind(batchNormPrimitive, primals, params);
    const moving = [0, 1, 2].map((k) => tangents[k] ?? null);
    const inputs = [...primals, ...outputs.slice(1), ...moving.filter((t) => t !== null)];
    const tangent = bind1(batchNormTangentPrimitive, inputs, { ...params, moves: moving.map((t) => t !== null) });
    return { outputs, tangents: [tangent, null, null] };
  },
});

interface TangentParams extends NormParams {
  /** Which of x, weight and bias have a tangent: those follow x, weight, bias, mean and variance in the inputs. */
  moves: readonly boolean[];
}

/** The derivative at (x, weight, bias), linear in the tangents. Inputs: x, weight, bias, mean, variance, and the tangents that move. */
export const batchNormTangentPrimitive: Primitive<TangentParams> = definePrimitive<TangentParams>({
  name: 'batchNormTangent',
  shape: ([x]) => [{ dtype: x!.dtype, shape: x!.shape }],
  kernel: (inputs, params) => [pushForward(inputs, params)],
  linear: {
    transpose: ([ct], inputs, params, isLinear) => {
      const { epsilon, relu, moves } = params;
      const gradients: Tangent[] = bind(batchNormGradientPrimitive, [...inputs.slice(0, 5), ct!], {
        epsilon,
        relu,
        wantsX: moves[0] === true && isLinear(5),
      });
      return [null, null, null, null, null, ...gradients.filter((_, k) => moves[k])];
    },
  },
  // Differentiated again, it is the composition.
  jvp: (primals, tangents, params) => jvpFlat((inputs) => [pushForward(inputs, params)], primals, tangents),
});

interface GradientParams extends NormParams {
  /** Otherwise the gradient in x is not computed: zeros stand for it. */
  wantsX: boolean;
}

/** The transposed derivative. Inputs: x, weight, bias, mean, variance, and the cotangent. Outputs: the gradients in x, weight and bias. */
export const batchNormGradientPrimitive: Primitive<GradientParams> = definePrimitive<GradientParams>({
  name: 'batchNormGradient',
  shape: ([x, weight, bias], { wantsX }) =>
    [wantsX ? x! : { dtype: x!.dtype, shape: [0] }, weight!, bias!].map(({ dtype, shape }) => ({ dtype, shape })),
  kernel: ([x, weight, bias, m, v, ct], { epsilon, relu, wantsX }) => {
    const out = [wantsX ? x!.shape : [0], weight!.shape, bias!.shape].map((shape) => Tensor.empty(x!.dtype, shape));
    const [p, at] = [linesAlong(x!.shape, 1), [x!, weight!, bias!, m!, v!, ct!].map((t) => t.address)];
    const [dx, dw, db] = out as [Tensor, Tensor, Tensor];
    kernels.batchNormGradient(
      code(x!),
      p,
      epsilon,
      relu ? 1 : 0,
      ...(at as [number, number, number, number, number, number]),
      wantsX ? dx.address : 0,
      dw.address,
      db.address,
    );
    return out;
  },
  linear: {
    inputs: [5],
    transpose: (cotangents, inputs, { epsilon, relu, wantsX }) => {
      const moves = [wantsX, true, true];
      const moving = cotangents.filter((_, k) => moves[k]);
      return [null, null, null, null, null, bind1(batchNormTangentPrimitive, [...inputs.slice(0, 5), ...moving], { epsilon, relu, moves })];
    },
  },
  jvp: (primals, tangents, params) => jvpFlat((inputs) => pullBack(inputs, params), primals, tangents),
});

const otherAxes = (x: Tensor): number[] => x.shape.flatMap((_, i) => (i === 1 ? [] : [i]));
const perChannel = (v: Tensor, x: Tensor): Tensor => reshape(v, [1, -1, ...new Array<number>(x.rank - 2).fill(1)]);

/** What both rules need of x, in operations that differentiate further: x - mean, and 1 / sqrt(variance + epsilon) per channel. */
function normalized(x: Tensor, epsilon: number): { z: Tensor; inverse: Tensor } {
  const axes = otherAxes(x);
  const centred = sub(x, mean(x, { axes, keepDims: true }));
  const inverse = div(1, sqrt(add(mean(square(centred), { axes, keepDims: true }), epsilon)));
  return { z: mul(centred, inverse), inverse };
}

/** t - mean(t) - z mean(t z): the derivative of z in x is this times 1 / deviation, and self-adjoint. */
function centredAbout(t: Tensor, z: Tensor): Tensor {
  const axes = otherAxes(z);
  return sub(sub(t, mean(t, { axes, keepDims: true })), mul(z, mean(mul(t, z), { axes, keepDims: true })));
}

function pushForward(inputs: readonly Tensor[], { epsilon, relu, moves }: TangentParams): Tensor {
  return tidy(() => {
    const [x, weight, bias] = inputs as [Tensor, Tensor, Tensor];
    const { z, inverse } = normalized(x, epsilon);
    const w = perChannel(weight, x);
    let at = 5;
    const parts: Tensor[] = [];
    if (moves[0]) parts.push(mul(centredAbout(inputs[at++] as Tensor, z), mul(w, inverse)));
    if (moves[1]) parts.push(mul(z, perChannel(inputs[at++] as Tensor, x)));
    if (moves[2]) parts.push(perChannel(inputs[at++] as Tensor, x));
    const t = broadcastTo(
      parts.reduce((a, b) => add(a, b)),
      x.shape,
    );
    return relu ? maskPositive(add(mul(z, w), perChannel(bias, x)), t) : t;
  });
}

function pullBack(inputs: readonly Tensor[], { epsilon, relu, wantsX }: GradientParams): Tensor[] {
  return tidy(() => {
    const [x, weight, bias, , , ct] = inputs as [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor];
    const { z, inverse } = normalized(x, epsilon);
    const w = perChannel(weight, x);
    const g = relu ? maskPositive(add(mul(z, w), perChannel(bias, x)), ct) : ct;
    const axes = otherAxes(x);
    const dx = wantsX ? mul(centredAbout(g, z), mul(w, inverse)) : Tensor.empty(x.dtype, [0]);
    return [dx, sum(mul(g, z), { axes }), sum(g, { axes })];
  });
}

export interface BatchNormResult {
  y: Tensor;
  /** Of the batch, [c]; constants to every derivative (that of y knows that they depend on x). */
  mean: Tensor;
  /** Of the batch, biased, [c]; a constant as well. */
  variance: Tensor;
}

/**
 * Per channel, (x - mean) / sqrt(variance + epsilon) · weight + bias with the mean and the variance over everything but the channel (Ioffe
 * and Szegedy 2015), then a ReLU where asked for.
 * @param x [n, c, ...]
 * @param weight [c]
 * @param bias [c]
 * @param options.epsilon added to the variance, >= 0. Default 1e-5.
 */
export function batchNorm(x: Tensor, weight: Tensor, bias: Tensor, options: { epsilon?: number; relu?: boolean } = {}): BatchNormResult {
  const { epsilon = 1e-5, relu = false } = options;
  checkFloat(x);
  if (x.rank < 2) throw new RangeError(`Expected [n, channels, ...] for x but received shape ${formatShape(x.shape)}`);
  for (const [name, v] of [
    ['weight', weight],
    ['bias', bias],
  ] as const) {
    checkFloat(v, name);
    if (v.rank !== 1 || v.shape[0] !== x.shape[1] || v.dtype !== x.dtype)
      throw new RangeError(`Expected ${x.dtype} [${x.shape[1]}] for ${name} but received ${v.dtype} ${formatShape(v.shape)}`);
  }
  if (!(epsilon >= 0 && epsilon < Number.POSITIVE_INFINITY))
    throw new RangeError(`Expected a finite number >= 0 for epsilon but received ${String(epsilon)}`);
  const [y, m, v] = bind(batchNormPrimitive, [x, weight, bias], { epsilon, relu }) as [Tensor, Tensor, Tensor];
  return { y, mean: m, variance: v };
}
