/** Softplus, and its derivatives times other factors, each in one pass. */
import { bind1, definePrimitive, type Primitive, type Tangent } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { Tensor } from '../tensor/index.js';
import { checkFloat, code } from './common.js';
import { add, mul, sigmoid, sub } from './elementwise.js';

/** The kernel has the derivatives up to this order. */
const MOST = 3;

/**
 * softplus^(order)(x) a b with softplus(x) = log(1 + e^x). Inputs: x and, from order 1 on, up to two factors. Linear in each factor; the
 * derivative in x is the next order with the tangent as one more factor.
 */
export const softplusPrimitive: Primitive<{ order: number }> = definePrimitive<{ order: number }>({
  name: 'softplus',
  shape: ([x]) => [{ dtype: x!.dtype, shape: x!.shape }],
  kernel: ([x, a, b], { order }) => {
    const y = Tensor.empty(x!.dtype, x!.shape);
    if (order === 0) kernels.unary(kernels.UnaryOp.softplus, code(x!), x!.size, x!.address, y.address);
    else kernels.softplusDerivative(code(x!), order, x!.size, x!.address, a?.address ?? 0, b?.address ?? 0, y.address);
    return [y];
  },
  linear: {
    inputs: [1, 2],
    multilinear: true,
    transpose: ([ct], [x, ...factors], { order }, isLinear) => [
      null,
      ...factors.map((_, i) => (isLinear(i + 1) ? product(x!, [ct!, ...factors.filter((_, k) => k !== i)], order) : null)),
    ],
  },
  jvp: ([x, ...factors], [dx, ...tangents], { order }) => {
    const y = product(x!, factors, order);
    const parts = tangents.flatMap((t, i) => (t == null ? [] : [product(x!, [t, ...factors.filter((_, k) => k !== i)], order)]));
    if (dx != null) {
      parts.push(order < MOST ? product(x!, [dx, ...factors], order + 1) : [fourth(x!), ...factors].reduce((p, f) => mul(p, f), dx));
    }
    const tangent: Tangent = parts.length === 0 ? null : parts.reduce((s, t) => add(s, t));
    return { outputs: [y], tangents: [tangent] };
  },
});

function product(x: Tensor, factors: readonly Tensor[], order: number): Tensor {
  // The kernel takes two factors: the last two of three become one.
  const [a, b, c] = factors;
  return bind1(softplusPrimitive, c === undefined ? [x, ...factors] : [x, a!, mul(b!, c)], { order });
}

/** σ (1 - σ) (1 - 6 σ (1 - σ)): beyond the kernel, in operations that differentiate further. */
function fourth(x: Tensor): Tensor {
  const s = sigmoid(x);
  const slope = mul(s, sub(1, s));
  return mul(slope, sub(1, mul(slope, 6)));
}

/** log(1 + e^x), without overflow */
export function softplus(x: Tensor): Tensor {
  return bind1(softplusPrimitive, [checkFloat(x)], { order: 0 });
}
