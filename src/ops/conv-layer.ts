/**
 * A convolution with bias and ReLU in one pass, and its gradient in two. The derivative is that of the composition
 * relu(conv2d(x, w) + bias); only the number of passes over memory differs.
 */
import { bind1, definePrimitive, jvpFlat, type Primitive, producerOf, type Tangent, Tracer } from '../autodiff/index.js';
import { kernels, precision } from '../backend/index.js';
import { formatShape, type Storage, Tensor, tidy } from '../tensor/index.js';
import { broadcastTo, reshape, sum } from './broadcast.js';
import { checkFloat, code, withFactors } from './common.js';
import {
  type ConvGeometry,
  type ConvOptions,
  convDataPrimitive,
  convForwardPrimitive,
  convGeometry,
  convWeightsPrimitive,
  nativeParams,
} from './conv.js';
import { add, maskPositive } from './elementwise.js';

interface LayerParams {
  geometry: ConvGeometry;
  relu: boolean;
}

/** Inputs: x, w, bias [c_out]. */
export const convLayerPrimitive: Primitive<LayerParams> = definePrimitive<LayerParams>({
  name: 'convLayer',
  shape: ([x], { geometry }) => [{ dtype: x!.dtype, shape: geometry.y }],
  kernel: ([x, w, bias], { geometry, relu }) => {
    const y = Tensor.empty(x!.dtype, geometry.y);
    if (y.size > 0)
      withFactors([x!, w!], (a, b) =>
        kernels.convForwardBias(code(x!), nativeParams(geometry), a!, b!, bias!.address, relu ? 1 : 0, y.address),
      );
    return [y];
  },
  jvp: ([x, w, bias], [dx, dw, db], params) => {
    const y = bind1(convLayerPrimitive, [x!, w!, bias!], params);
    const moving = [dx ?? null, dw ?? null, db ?? null];
    const tangent = bind1(convLayerTangentPrimitive, [y, x!, w!, ...moving.filter((t) => t !== null)], {
      ...params,
      moves: moving.map((t) => t !== null),
    });
    return { outputs: [y], tangents: [tangent] };
  },
});

interface TangentParams extends LayerParams {
  /** Which of x, w and bias have a tangent: those follow y, x and w in the inputs. */
  moves: readonly boolean[];
}

/** mask(y) (conv(dx, w) + conv(x, dw) + db), linear in the tangents. Inputs: y, x, w, and the tangents that move. */
export const convLayerTangentPrimitive: Primitive<TangentParams> = definePrimitive<TangentParams>({
  name: 'convLayerTangent',
  shape: ([y]) => [{ dtype: y!.dtype, shape: y!.shape }],
  kernel: (inputs, params) => [pushForward(inputs, params)],
  linear: {
    transpose: ([ct], inputs, params, isLinear) => {
      const [y, x, w] = inputs as [Tensor, Tensor, Tensor];
      const wanted = params.moves.map((moves, k) => moves && isLinear(slotOf(params, k)));
      const [dx, dw, db] = [ct!, y, x, w].some((v) => v instanceof Tracer)
        ? composedTranspose(ct!, y, x, w, params, wanted)
        : fusedTranspose(ct!, y, x, w, params, wanted, wanted[0] ? (inputs[slotOf(params, 0)] as Tensor) : null);
      const found: Tangent[] = [dx, dw, db];
      return [null, null, null, ...found.filter((_, k) => params.moves[k])];
    },
  },
  // Differentiated again, it is the composition.
  jvp: (primals, tangents, params) => jvpFlat((inputs) => [pushForward(inputs, params)], primals, tangents),
});

const slotOf = ({ moves }: TangentParams, k: number): number => 3 + moves.slice(0, k).filter(Boolean).length;

function pushForward(inputs: readonly Tensor[], params: TangentParams): Tensor {
  return tidy(() => {
    const [y, x, w] = inputs as [Tensor, Tensor, Tensor];
    const { geometry, moves, relu } = params;
    const at = (k: number): Tensor => inputs[slotOf(params, k)] as Tensor;
    let t: Tensor | null = null;
    const include = (part: Tensor): void => {
      t = t === null ? part : add(t, part);
    };
    if (moves[0]) include(bind1(convForwardPrimitive, [at(0), w], geometry));
    if (moves[1]) include(bind1(convForwardPrimitive, [x, at(1)], geometry));
    if (moves[2]) include(t === null ? broadcastTo(reshape(at(2), [1, -1, 1, 1]), y.shape) : reshape(at(2), [1, -1, 1, 1]));
    return relu ? maskPositive(y, t as unknown as Tensor) : (t as unknown as Tensor);
  });
}

function composedTranspose(
  ct: Tensor,
  y: Tensor,
  x: Tensor,
  w: Tensor,
  { geometry, relu }: TangentParams,
  wanted: readonly boolean[],
): [Tangent, Tangent, Tangent] {
  const g = relu ? maskPositive(y, ct) : ct;
  return [
    wanted[0] ? bind1(convDataPrimitive, [g, w], geometry) : null,
    wanted[1] ? bind1(convWeightsPrimitive, [x, g], geometry) : null,
    wanted[2] ? sum(g, { axes: [0, 2, 3] }) : null,
  ];
}

/** Cotangents that already are 0 wherever the tensor in the second storage is not positive. */
const masked = new WeakMap<Storage, Storage>();

function fusedTranspose(
  ct: Tensor,
  y: Tensor,
  x: Tensor,
  w: Tensor,
  { geometry, relu }: TangentParams,
  wanted: readonly boolean[],
  dxTracer: Tensor | null,
): [Tangent, Tangent, Tangent] {
  const [dtype, p] = [code(ct), nativeParams(geometry)];
  const g = relu && masked.get(ct.storage) !== y.storage ? maskPositive(y, ct) : ct;
  let [dx, dw, db]: [Tangent, Tangent, Tangent] = [null, null, null];
  if (wanted[0]) {
    const result = Tensor.empty(ct.dtype, geometry.x);
    dx = result;
    // When x is itself the result of such a layer with ReLU, its rule masks what comes back: done here, on the way out, it costs nothing.
    const source = dxTracer && producerOf(dxTracer);
    if (source?.primitive === (convLayerTangentPrimitive as Primitive<unknown>) && (source.params as TangentParams).relu) {
      withFactors([g, w], (a, b) => kernels.convDataMasked(dtype, p, a!, b!, x.address, result.address));
      masked.set(result.storage, x.storage);
    } else {
      withFactors([g, w], (a, b) => kernels.convData(dtype, p, a!, b!, result.address));
    }
  }
  // The sum is no product: it takes the cotangent as it is, and the CPU's fused kernel would sum the rounded one.
  if (wanted[1] && wanted[2] && (precision() === 'float32' || x.device === 'cuda')) {
    const [weights, bias] = [Tensor.empty(ct.dtype, geometry.w), Tensor.empty(ct.dtype, [geometry.w[0] as number])];
    [dw, db] = [weights, bias];
    withFactors([x, g], (a, b) => kernels.convWeightsBias(dtype, p, a!, b!, weights.address, bias.address));
  } else {
    if (wanted[1]) dw = bind1(convWeightsPrimitive, [x, g], geometry);
    if (wanted[2]) db = sum(g, { axes: [0, 2, 3] });
  }
  return [dx, dw, db];
}

/**
 * relu(conv2d(x, w, options) + bias), or without the ReLU.
 * @param bias [c_out]
 */
export function convLayer2d(x: Tensor, w: Tensor, bias: Tensor, options: ConvOptions & { relu?: boolean } = {}): Tensor {
  const { relu = false, ...conv } = options;
  const geometry = convGeometry(x, w, conv);
  checkFloat(bias, 'bias');
  if (bias.rank !== 1 || bias.shape[0] !== w.shape[0] || bias.dtype !== x.dtype) {
    throw new RangeError(`Expected a bias ${x.dtype} [${w.shape[0]}] but received ${bias.dtype} ${formatShape(bias.shape)}`);
  }
  return bind1(convLayerPrimitive, [x, w, bias], { geometry, relu });
}
