/** The log-student-t activation of total deep variation, and its derivatives times other factors, each in one pass. */
import { bind1, definePrimitive, type Primitive, type Tangent } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { formatShape, sameShape, Tensor } from '../tensor/index.js';
import { checkFloat, code } from './common.js';
import { add, mul, reciprocal, square, sub } from './elementwise.js';

interface Params {
  order: number;
  nu: number;
}

/** The kernel has the derivatives up to this order. */
const MOST = 3;

/**
 * φ^(order)(x) a b with φ(x) = log(1 + ν x²) / (2ν). Inputs: x and up to two factors. Linear in each factor; the derivative in x is the
 * next order with the tangent as one more factor.
 */
export const logStudentPrimitive: Primitive<Params> = definePrimitive<Params>({
  name: 'logStudent',
  shape: ([x]) => [{ dtype: x!.dtype, shape: x!.shape }],
  kernel: ([x, a, b], { order, nu }) => {
    const y = Tensor.empty(x!.dtype, x!.shape);
    if (y.size > 0) kernels.logStudent(code(x!), order, nu, x!.size, x!.address, a?.address ?? 0, b?.address ?? 0, y.address);
    return [y];
  },
  linear: {
    inputs: [1, 2],
    multilinear: true,
    transpose: ([ct], [x, ...factors], params, isLinear) => [
      null,
      ...factors.map((_, i) => (isLinear(i + 1) ? product(x!, [ct!, ...factors.filter((_, k) => k !== i)], params) : null)),
    ],
  },
  jvp: ([x, ...factors], [dx, ...tangents], params) => {
    const y = product(x!, factors, params);
    const parts = tangents.flatMap((t, i) => (t == null ? [] : [product(x!, [t, ...factors.filter((_, k) => k !== i)], params)]));
    if (dx != null) {
      const { order, nu } = params;
      parts.push(
        order < MOST
          ? product(x!, [dx, ...factors], { order: order + 1, nu })
          : [fourth(x!, nu), ...factors].reduce((p, f) => mul(p, f), dx),
      );
    }
    const tangent: Tangent = parts.length === 0 ? null : parts.reduce((s, t) => add(s, t));
    return { outputs: [y], tangents: [tangent] };
  },
});

function product(x: Tensor, factors: readonly Tensor[], params: Params): Tensor {
  // The kernel takes two factors: the first two of three become one, the tangent among them staying first.
  const [a, b, c] = factors;
  return bind1(logStudentPrimitive, c === undefined ? [x, ...factors] : [x, a!, mul(b!, c)], params);
}

/** φ''''(x) = -6ν (1 - 6νx² + ν²x⁴) r⁴, r = 1 / (1 + νx²): beyond the kernel, in operations that differentiate further. */
function fourth(x: Tensor, nu: number): Tensor {
  const s = mul(square(x), nu);
  const r2 = square(reciprocal(add(s, 1)));
  return mul(mul(add(sub(square(s), mul(s, 6)), 1), -6 * nu), square(r2));
}

function checkNu(nu: number): number {
  if (!(nu > 0 && nu < Number.POSITIVE_INFINITY)) throw new RangeError(`Expected a finite number > 0 for nu but received ${String(nu)}`);
  return nu;
}

/** log(1 + ν x²) / (2ν), elementwise. Even, with φ'(0) = 0 and φ''(0) = 1. */
export function logStudent(x: Tensor, nu = 1): Tensor {
  return bind1(logStudentPrimitive, [checkFloat(x)], { order: 0, nu: checkNu(nu) });
}

/** x / (1 + ν x²) · a, the derivative of `logStudent` at x times a tensor of the same shape. */
export function logStudentSlope(x: Tensor, a: Tensor, nu = 1): Tensor {
  checkFloat(x);
  checkFloat(a, 'a');
  if (a.dtype !== x.dtype || !sameShape(a.shape, x.shape)) {
    throw new RangeError(`Expected ${x.dtype} ${formatShape(x.shape)} for a, as x has, but received ${a.dtype} ${formatShape(a.shape)}`);
  }
  return bind1(logStudentPrimitive, [x, a], { order: 1, nu: checkNu(nu) });
}
