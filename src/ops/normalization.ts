/**
 * Batch norm with the batch's own statistics, and layer norm: each in one pass over memory, and its gradient in another. The derivatives are
 * those of the compositions below; only the number of passes differs.
 */
import { bind, bind1, definePrimitive, jvpFlat, type Primitive, type Tangent } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { formatShape, linesAlong, type Shape, sizeOf, Tensor, tidy } from '../tensor/index.js';
import { broadcastTo, reshape, sumTo } from './broadcast.js';
import { checkFloat, code } from './common.js';
import { add, div, maskPositive, mul, relu as positivePart, sqrt, square, sub } from './elementwise.js';
import { mean } from './reduce.js';

interface NormParams {
  epsilon: number;
  relu: boolean;
}
interface TangentParams extends NormParams {
  /** Which of x, weight and bias have a tangent: those follow x, weight, bias, mean and variance in the inputs. */
  moves: readonly boolean[];
}
interface GradientParams extends NormParams {
  /** Otherwise the gradient in x is not computed: an empty tensor stands for it. */
  wantsX: boolean;
}

/** What tells batch norm from layer norm. */
interface Family {
  name: string;
  /** The axes over which x has its statistics. */
  axes(x: Tensor, weight: Tensor): number[];
  /** The shape of the statistics. */
  statistics(x: Shape, weight: Shape): Shape;
  /** The shape in which the weight broadcasts to x. */
  spread(x: Tensor, weight: Tensor): Shape;
  /** Fills y, mean and variance. */
  forward(inputs: readonly Tensor[], outputs: readonly Tensor[], params: NormParams): void;
  /** Fills the gradients in x (unless null), weight and bias. inputs: x, weight, bias, mean, variance, the cotangent. */
  gradient(inputs: readonly Tensor[], dx: Tensor | null, dweight: Tensor, dbias: Tensor, params: NormParams): void;
}

interface NormPrimitives {
  value: Primitive<NormParams>;
  tangent: Primitive<TangentParams>;
  gradient: Primitive<GradientParams>;
}

function normPrimitives(family: Family): NormPrimitives {
  const value: Primitive<NormParams> = definePrimitive<NormParams>({
    name: family.name,
    shape: ([x, weight]) => {
      const statistics = { dtype: x!.dtype, shape: family.statistics(x!.shape, weight!.shape) };
      return [{ dtype: x!.dtype, shape: x!.shape }, statistics, statistics];
    },
    kernel: (inputs, params) => {
      const outputs = value.shape(inputs, params).map(({ dtype, shape }) => Tensor.empty(dtype, shape));
      family.forward(inputs, outputs, params);
      return outputs;
    },
    jvp: (primals, tangents, params) => {
      const outputs = bind(value, primals, params);
      const moving = [0, 1, 2].map((k) => tangents[k] ?? null);
      const inputs = [...primals, ...outputs.slice(1), ...moving.filter((t) => t !== null)];
      return { outputs, tangents: [bind1(tangent, inputs, { ...params, moves: moving.map((t) => t !== null) }), null, null] };
    },
  });

  const tangent: Primitive<TangentParams> = definePrimitive<TangentParams>({
    name: `${family.name}Tangent`,
    shape: ([x]) => [{ dtype: x!.dtype, shape: x!.shape }],
    kernel: (inputs, params) => [pushForward(family, inputs, params)],
    linear: {
      transpose: ([ct], inputs, { epsilon, relu, moves }, isLinear) => {
        const wantsX = moves[0] === true && isLinear(5);
        const gradients: Tangent[] = bind(gradient, [...inputs.slice(0, 5), ct!], { epsilon, relu, wantsX });
        return [null, null, null, null, null, ...gradients.filter((_, k) => moves[k])];
      },
    },
    // Differentiated again, it is the composition.
    jvp: (primals, tangents, params) => jvpFlat((inputs) => [pushForward(family, inputs, params)], primals, tangents),
  });

  const gradient: Primitive<GradientParams> = definePrimitive<GradientParams>({
    name: `${family.name}Gradient`,
    shape: ([x, weight, bias], { wantsX }) =>
      [wantsX ? x! : { dtype: x!.dtype, shape: [0] }, weight!, bias!].map(({ dtype, shape }) => ({ dtype, shape })),
    kernel: (inputs, params) => {
      const outputs = gradient.shape(inputs, params).map(({ dtype, shape }) => Tensor.empty(dtype, shape));
      const [dx, dweight, dbias] = outputs as [Tensor, Tensor, Tensor];
      family.gradient(inputs, params.wantsX ? dx : null, dweight, dbias, params);
      return outputs;
    },
    linear: {
      inputs: [5],
      transpose: (cotangents, inputs, { epsilon, relu, wantsX }) => {
        const moves = [wantsX, true, true];
        const moving = cotangents.filter((_, k) => moves[k]);
        return [null, null, null, null, null, bind1(tangent, [...inputs.slice(0, 5), ...moving], { epsilon, relu, moves })];
      },
    },
    jvp: (primals, tangents, params) => jvpFlat((inputs) => pullBack(family, inputs, params), primals, tangents),
  });
  return { value, tangent, gradient };
}

/** What both rules need of x, in operations that differentiate further: z = (x - mean) · inverse, inverse = 1 / sqrt(variance + epsilon). */
function normalized(x: Tensor, axes: number[], epsilon: number): { z: Tensor; inverse: Tensor } {
  const centred = sub(x, mean(x, { axes, keepDims: true }));
  const inverse = div(1, sqrt(add(mean(square(centred), { axes, keepDims: true }), epsilon)));
  return { z: mul(centred, inverse), inverse };
}

/** t - mean(t) - z mean(t z): the derivative of z in x is this times `inverse`, and self-adjoint. */
function centredAbout(t: Tensor, z: Tensor, axes: number[]): Tensor {
  return sub(sub(t, mean(t, { axes, keepDims: true })), mul(z, mean(mul(t, z), { axes, keepDims: true })));
}

function pushForward(family: Family, inputs: readonly Tensor[], { epsilon, relu, moves }: TangentParams): Tensor {
  return tidy(() => {
    const [x, weight, bias] = inputs as [Tensor, Tensor, Tensor];
    const [axes, spread] = [family.axes(x, weight), family.spread(x, weight)];
    const { z, inverse } = normalized(x, axes, epsilon);
    const w = reshape(weight, spread);
    let at = 5;
    const parts: Tensor[] = [];
    if (moves[0]) parts.push(mul(mul(centredAbout(inputs[at++] as Tensor, z, axes), inverse), w));
    if (moves[1]) parts.push(mul(z, reshape(inputs[at++] as Tensor, spread)));
    if (moves[2]) parts.push(reshape(inputs[at++] as Tensor, spread));
    const t = broadcastTo(
      parts.reduce((a, b) => add(a, b)),
      x.shape,
    );
    return relu ? maskPositive(add(mul(z, w), reshape(bias, spread)), t) : t;
  });
}

function pullBack(family: Family, inputs: readonly Tensor[], { epsilon, relu, wantsX }: GradientParams): Tensor[] {
  return tidy(() => {
    const [x, weight, bias, , , ct] = inputs as [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor];
    const [axes, spread] = [family.axes(x, weight), family.spread(x, weight)];
    const { z, inverse } = normalized(x, axes, epsilon);
    const w = reshape(weight, spread);
    const g = relu ? maskPositive(add(mul(z, w), reshape(bias, spread)), ct) : ct;
    const dx = wantsX ? mul(centredAbout(mul(g, w), z, axes), inverse) : Tensor.empty(x.dtype, [0]);
    return [dx, reshape(sumTo(mul(g, z), spread), weight.shape), reshape(sumTo(g, spread), bias.shape)];
  });
}

type Addresses<N extends number, A extends number[] = []> = A['length'] extends N ? A : Addresses<N, [...A, number]>;
const addresses = <N extends number>(tensors: readonly Tensor[]): Addresses<N> => tensors.map((t) => t.address) as Addresses<N>;

const batch = normPrimitives({
  name: 'batchNorm',
  axes: (x) => x.shape.flatMap((_, i) => (i === 1 ? [] : [i])),
  statistics: (_x, weight) => weight,
  spread: (x) => x.shape.map((n, i) => (i === 1 ? n : 1)),
  forward: (inputs, outputs, { epsilon, relu }) => {
    const x = inputs[0] as Tensor;
    kernels.batchNorm(code(x), linesAlong(x.shape, 1), epsilon, relu ? 1 : 0, ...addresses<6>([...inputs, ...outputs]));
  },
  gradient: (inputs, dx, dweight, dbias, { epsilon, relu }) => {
    const x = inputs[0] as Tensor;
    const [p, mask] = [linesAlong(x.shape, 1), relu ? 1 : 0];
    kernels.batchNormGradient(code(x), p, epsilon, mask, ...addresses<6>(inputs), dx?.address ?? 0, dweight.address, dbias.address);
  },
});
export const batchNormPrimitive = batch.value;
export const batchNormTangentPrimitive = batch.tangent;
export const batchNormGradientPrimitive = batch.gradient;

const rowsOf = (x: Tensor, weight: Tensor): { outer: number; n: number; inner: number } => ({
  outer: sizeOf(x.shape.slice(0, x.rank - weight.rank)),
  n: weight.size,
  inner: 1,
});
const layer = normPrimitives({
  name: 'layerNorm',
  axes: (x, weight) => weight.shape.map((_, i) => x.rank - weight.rank + i),
  statistics: (x, weight) => x.slice(0, x.length - weight.length),
  spread: (_x, weight) => weight.shape,
  forward: (inputs, outputs, { epsilon }) => {
    const [x, weight] = inputs as [Tensor, Tensor];
    kernels.layerNorm(code(x), rowsOf(x, weight), epsilon, ...addresses<6>([...inputs, ...outputs]));
  },
  gradient: (inputs, dx, dweight, dbias, { epsilon }) => {
    const [x, weight, , ...rest] = inputs as [Tensor, Tensor, Tensor, ...Tensor[]];
    const p = rowsOf(x, weight);
    kernels.layerNormGradient(code(x), p, epsilon, ...addresses<5>([x, weight, ...rest]), dx?.address ?? 0, dweight.address, dbias.address);
  },
});
export const layerNormPrimitive = layer.value;
export const layerNormTangentPrimitive = layer.tangent;
export const layerNormGradientPrimitive = layer.gradient;

function checkAffine(x: Tensor, shape: Shape, named: Record<string, Tensor>): void {
  for (const [name, v] of Object.entries(named)) {
    checkFloat(v, name);
    if (v.dtype !== x.dtype || formatShape(v.shape) !== formatShape(shape))
      throw new RangeError(`Expected ${x.dtype} ${formatShape(shape)} for ${name} but received ${v.dtype} ${formatShape(v.shape)}`);
  }
}

function checkEpsilon(epsilon: number): number {
  if (!(epsilon >= 0 && epsilon < Number.POSITIVE_INFINITY))
    throw new RangeError(`Expected a finite number >= 0 for epsilon but received ${String(epsilon)}`);
  return epsilon;
}

/** Inputs: x [n, c, ...], mean, scale and bias [c]. */
export const channelAffinePrimitive: Primitive<{ relu: boolean }> = definePrimitive<{ relu: boolean }>({
  name: 'channelAffine',
  shape: ([x]) => [{ dtype: x!.dtype, shape: x!.shape }],
  kernel: (inputs, { relu }) => {
    const x = inputs[0] as Tensor;
    const y = Tensor.empty(x.dtype, x.shape);
    kernels.channelAffine(code(x), linesAlong(x.shape, 1), relu ? 1 : 0, ...addresses<5>([...inputs, y]));
    return [y];
  },
  jvp: (primals, tangents, { relu }) =>
    jvpFlat(
      ([x, m, scale, bias]) =>
        tidy(() => {
          const [a, b, c] = [m!, scale!, bias!].map((v) => reshape(v, [1, -1, ...new Array<number>(x!.rank - 2).fill(1)]));
          const y = add(mul(sub(x!, a!), b!), c!);
          return [relu ? positivePart(y) : y];
        }),
      primals,
      tangents,
    ),
});

/**
 * (x - mean) · scale + bias per channel in one pass over memory, then a ReLU where asked for: batch norm with given statistics.
 * @param x [n, c, ...]
 * @param mean [c]
 * @param scale [c]
 * @param bias [c]
 */
export function channelAffine(x: Tensor, mean: Tensor, scale: Tensor, bias: Tensor, options: { relu?: boolean } = {}): Tensor {
  checkChannels(x);
  checkAffine(x, [x.shape[1] as number], { mean, scale, bias });
  return bind1(channelAffinePrimitive, [x, mean, scale, bias], { relu: options.relu ?? false });
}

function checkChannels(x: Tensor): void {
  checkFloat(x);
  if (x.rank < 2) throw new RangeError(`Expected [n, channels, ...] for x but received shape ${formatShape(x.shape)}`);
}

export interface BatchNormResult {
  y: Tensor;
  /** Of the batch, [c]; a constant to every derivative (that of y knows that it depends on x). */
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
  checkChannels(x);
  checkAffine(x, [x.shape[1] as number], { weight, bias });
  const [y, m, v] = bind(batchNormPrimitive, [x, weight, bias], { epsilon: checkEpsilon(epsilon), relu }) as [Tensor, Tensor, Tensor];
  return { y, mean: m, variance: v };
}

/**
 * (x - mean) / sqrt(variance + epsilon) · weight + bias with the mean and the (biased) variance over the last axes, those of the weight
 * (Ba, Kiros and Hinton 2016).
 * @param x [..., *shape]
 * @param weight shape
 * @param bias shape
 * @param options.epsilon added to the variance, >= 0. Default 1e-5.
 */
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor, options: { epsilon?: number } = {}): Tensor {
  const { epsilon = 1e-5 } = options;
  checkFloat(x);
  checkFloat(weight, 'weight');
  if (weight.rank < 1 || weight.rank > x.rank) {
    throw new RangeError(
      `Expected a weight of rank 1 to ${x.rank} for x of shape ${formatShape(x.shape)} but received shape ${formatShape(weight.shape)}`,
    );
  }
  checkAffine(x, x.shape.slice(x.rank - weight.rank), { weight, bias });
  const outputs = tidy(() => [bind(layerNormPrimitive, [x, weight, bias], { epsilon: checkEpsilon(epsilon), relu: false })[0] as Tensor]);
  return outputs[0] as Tensor;
}
