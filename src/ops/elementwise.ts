/** Elementwise operations, with broadcasting. */
import { type Aval, bind1, definePrimitive, type Primitive, provideArithmetic, sumTangents, type Tangent } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { broadcastShapes, type DType, type Shape, Tensor, tidy } from '../tensor/index.js';
import { broadcastTo, sumTo } from './broadcast.js';
import { broadcastStrides, checkFloat, checkTensor, code, type Operand, unify, zerosOf } from './common.js';
import { cast } from './movement.js';

const { UnaryOp, BinaryOp, CompareOp } = kernels;

/** Applies a primitive of two operands and frees what only stood in for a number or was converted. */
function applyBinary(primitive: Primitive<null>, a: Operand, b: Operand): Tensor {
  const [x, y] = unify(a, b, cast);
  const result = bind1(primitive, [x, y], null);
  if (x !== a) x.dispose();
  if (y !== b) y.dispose();
  return result;
}

// ---- sums and products --------------------------------------------------------------------------------------------------------

const broadcastAval = ([a, b]: readonly Aval[]): Aval[] => [{ dtype: a!.dtype, shape: broadcastShapes(a!.shape, b!.shape) }];

type BinaryCall = (shape: Shape, a: number, aStrides: Shape, b: number, bStrides: Shape, y: number) => void;

/** Runs an elementwise kernel of two operands over their broadcast shape. */
function broadcasting(a: Tensor, b: Tensor, dtype: DType, run: BinaryCall): Tensor[] {
  const shape = broadcastShapes(a.shape, b.shape);
  const y = Tensor.empty(dtype, shape);
  if (y.size > 0) run(shape, a.address, broadcastStrides(a.shape, shape), b.address, broadcastStrides(b.shape, shape), y.address);
  return [y];
}

function binaryKernel(op: kernels.BinaryOp) {
  return ([a, b]: readonly Tensor[]): Tensor[] =>
    broadcasting(a!, b!, a!.dtype, (...operands) => kernels.binary(op, code(a!), ...operands));
}

/** A tangent in the shape of the result: an operand that was broadcast has a smaller one. */
const spread = (t: Tangent | undefined, like: Tensor): Tangent => (t == null ? null : broadcastTo(t, like.shape));

export const addPrimitive: Primitive<null> = definePrimitive<null>({
  name: 'add',
  shape: broadcastAval,
  kernel: binaryKernel(BinaryOp.add),
  linear: { transpose: ([ct], [a, b]) => [sumTo(ct!, a!.shape), sumTo(ct!, b!.shape)] },
  jvp: ([a, b], [da, db]) => {
    const y = bind1(addPrimitive, [a!, b!], null);
    return { outputs: [y], tangents: [da != null && db != null ? add(da, db) : spread(da ?? db, y)] };
  },
});

export const subPrimitive: Primitive<null> = definePrimitive<null>({
  name: 'sub',
  shape: broadcastAval,
  kernel: binaryKernel(BinaryOp.sub),
  linear: {
    transpose: ([ct], [a, b], _params, isLinear) => [
      isLinear(0) ? sumTo(ct!, a!.shape) : null,
      isLinear(1) ? sumTo(neg(ct!), b!.shape) : null,
    ],
  },
  jvp: ([a, b], [da, db]) => {
    const y = bind1(subPrimitive, [a!, b!], null);
    return { outputs: [y], tangents: [da != null && db != null ? sub(da, db) : spread(da ?? neg(db!), y)] };
  },
});

export const mulPrimitive: Primitive<null> = definePrimitive<null>({
  name: 'mul',
  shape: broadcastAval,
  kernel: binaryKernel(BinaryOp.mul),
  linear: {
    multilinear: true,
    transpose: ([ct], [a, b], _params, isLinear) => [
      isLinear(0) ? sumTo(mul(ct!, b!), a!.shape) : null,
      isLinear(1) ? sumTo(mul(ct!, a!), b!.shape) : null,
    ],
  },
});

export const divPrimitive: Primitive<null> = definePrimitive<null>({
  name: 'div',
  shape: broadcastAval,
  kernel: binaryKernel(BinaryOp.div),
  // Linear in the numerator.
  linear: { inputs: [0], transpose: ([ct], [a, b]) => [sumTo(div(ct!, b!), a!.shape), null] },
  // d(a/b) = da/b - (a/b) db/b
  jvp: ([a, b], [da, db]) => {
    const y = bind1(divPrimitive, [a!, b!], null);
    const byA = da == null ? null : spread(div(da, b!), y);
    const byB = db == null ? null : spread(neg(mul(div(y, b!), db)), y);
    return { outputs: [y], tangents: [sumTangents(byA, byB)] };
  },
});

export const negPrimitive: Primitive<null> = definePrimitive<null>({
  name: 'neg',
  shape: ([x]) => [{ dtype: x!.dtype, shape: x!.shape }],
  kernel: ([x]) => [unaryKernel(UnaryOp.neg, x!)],
  linear: { transpose: ([ct]) => [neg(ct!)] },
});

/** a + b */
export function add(a: Operand, b: Operand): Tensor {
  return applyBinary(addPrimitive, a, b);
}
/** a - b */
export function sub(a: Operand, b: Operand): Tensor {
  return applyBinary(subPrimitive, a, b);
}
/** a b, elementwise */
export function mul(a: Operand, b: Operand): Tensor {
  return applyBinary(mulPrimitive, a, b);
}
/** a / b, elementwise; integers are divided as float32 */
export function div(a: Operand, b: Operand): Tensor {
  return tidy(() => {
    const [p, q] = unify(a, b, cast);
    const dtype: DType = p.dtype === 'int32' || p.dtype === 'uint8' ? 'float32' : p.dtype;
    return bind1(divPrimitive, [cast(p, dtype), cast(q, dtype)], null);
  });
}
/** -x */
export function neg(x: Tensor): Tensor {
  return bind1(negPrimitive, [checkTensor(x)], null);
}

provideArithmetic(add, (x) => zerosOf(x.shape, x.dtype));

// ---- smooth functions of one variable ------------------------------------------------------------------------------------------

function unaryKernel(op: kernels.UnaryOp, x: Tensor): Tensor {
  const y = Tensor.empty(x.dtype, x.shape);
  kernels.unary(op, code(x), x.size, x.address, y.address);
  return y;
}

/** A function y = f(x) with tangent `derivative(dx, x, y)`. Without a derivative it is zero almost everywhere. */
function unary(name: string, op: kernels.UnaryOp, derivative?: (dx: Tensor, x: Tensor, y: Tensor) => Tensor) {
  const primitive: Primitive<null> = definePrimitive<null>({
    name,
    shape: ([x]) => [{ dtype: x!.dtype, shape: x!.shape }],
    kernel: ([x]) => [unaryKernel(op, x!)],
    ...(derivative && {
      jvp: ([x], [dx]) => {
        const y = bind1(primitive, [x!], null);
        return { outputs: [y], tangents: [derivative(dx!, x!, y)] };
      },
    }),
  });
  return primitive;
}

export const expPrimitive = unary('exp', UnaryOp.exp, (dx, _x, y) => mul(dx, y)); // d e^x = e^x dx
export const logPrimitive = unary('log', UnaryOp.log, (dx, x) => div(dx, x));
export const log1pPrimitive = unary('log1p', UnaryOp.log1p, (dx, x) => div(dx, add(x, 1)));
export const expm1Primitive = unary('expm1', UnaryOp.expm1, (dx, _x, y) => mul(dx, add(y, 1)));
export const sqrtPrimitive = unary('sqrt', UnaryOp.sqrt, (dx, _x, y) => div(dx, mul(2, y)));
export const squarePrimitive = unary('square', UnaryOp.square, (dx, x) => mul(dx, mul(2, x)));
export const reciprocalPrimitive = unary('reciprocal', UnaryOp.reciprocal, (dx, _x, y) => mul(dx, neg(square(y)))); // d(1/x) = -x^-2 dx
export const tanhPrimitive = unary('tanh', UnaryOp.tanh, (dx, _x, y) => mul(dx, sub(1, square(y))));
export const sigmoidPrimitive = unary('sigmoid', UnaryOp.sigmoid, (dx, _x, y) => mul(dx, mul(y, sub(1, y))));
export const sinPrimitive = unary('sin', UnaryOp.sin, (dx, x) => mul(dx, cos(x)));
export const cosPrimitive = unary('cos', UnaryOp.cos, (dx, x) => neg(mul(dx, sin(x))));
export const absPrimitive = unary('abs', UnaryOp.abs, (dx, x) => mul(dx, sign(x)));
// The mask reads the output: it is kept anyway, as the next layer's input.
export const reluPrimitive = unary('relu', UnaryOp.relu, (dx, _x, y) => maskPositive(y, dx));
export const signPrimitive = unary('sign', UnaryOp.sign);
export const floorPrimitive = unary('floor', UnaryOp.floor);
export const roundPrimitive = unary('round', UnaryOp.round);
export const isNaNPrimitive = unary('isNaN', UnaryOp.isNaN);

const apply =
  (primitive: typeof expPrimitive) =>
  (x: Tensor): Tensor =>
    bind1(primitive, [checkFloat(x)], null);

export const exp = apply(expPrimitive);
export const log = apply(logPrimitive);
export const log1p = apply(log1pPrimitive);
export const expm1 = apply(expm1Primitive);
export const sqrt = apply(sqrtPrimitive);
export const square = apply(squarePrimitive);
export const reciprocal = apply(reciprocalPrimitive);
export const tanh = apply(tanhPrimitive);
export const sigmoid = apply(sigmoidPrimitive);
export const sin = apply(sinPrimitive);
export const cos = apply(cosPrimitive);
/** |x|, with derivative sign(x) (0 at 0) */
export const abs = apply(absPrimitive);
/** max(x, 0), with derivative 0 at 0 */
export const relu = apply(reluPrimitive);
export const sign = apply(signPrimitive);
export const floor = apply(floorPrimitive);
/** To the nearest integer, halves to even. */
export const round = apply(roundPrimitive);
/** 1 where x is NaN, else 0, in x's dtype. */
export const isNaN = apply(isNaNPrimitive);

// ---- functions of two variables ------------------------------------------------------------------------------------------------

export const maskPositivePrimitive: Primitive<null> = definePrimitive<null>({
  name: 'maskPositive',
  shape: broadcastAval,
  kernel: binaryKernel(BinaryOp.maskPositive),
  linear: { inputs: [1], transpose: ([ct], [a, b]) => [null, sumTo(maskPositive(a!, ct!), b!.shape)] },
});

/** b where a > 0, else 0: linear in b. */
export function maskPositive(a: Tensor, b: Tensor): Tensor {
  return bind1(maskPositivePrimitive, [a, b], null);
}

export const powPrimitive: Primitive<null> = definePrimitive<null>({
  name: 'pow',
  shape: broadcastAval,
  kernel: binaryKernel(BinaryOp.pow),
  // d(a^b) = b a^(b-1) da + a^b log(a) db
  jvp: ([a, b], [da, db]) => {
    const y = bind1(powPrimitive, [a!, b!], null);
    const byA = da == null ? null : spread(mul(da, mul(b!, pow(a!, sub(b!, 1)))), y);
    // log of a zero base only meets a factor 0
    const byB = db == null ? null : spread(mul(db, mul(y, log(select(compare.gt(a!, 0), a!, 1)))), y);
    return { outputs: [y], tangents: [sumTangents(byA, byB)] };
  },
});

/** a^b; a number as exponent is differentiated in the base only */
export function pow(a: Operand, b: Operand): Tensor {
  return tidy(() => {
    const [p, q] = unify(a, b, cast);
    checkFloat(p, 'a');
    return bind1(powPrimitive, [p, q], null);
  });
}

function extremum(name: string, op: kernels.BinaryOp, wins: (a: Tensor, b: Tensor) => Tensor) {
  const primitive: Primitive<null> = definePrimitive<null>({
    name,
    shape: broadcastAval,
    kernel: binaryKernel(op),
    // The tangent of the winning operand; at a tie half of each.
    jvp: ([a, b], [da, db]) => {
      const y = bind1(primitive, [a!, b!], null);
      const half = mul(cast(compare.eq(a!, b!), y.dtype), 0.5);
      const weightA = add(cast(wins(a!, b!), y.dtype), half);
      const byA = da == null ? null : mul(da, weightA);
      const byB = db == null ? null : mul(db, sub(1, weightA));
      return { outputs: [y], tangents: [spread(sumTangents(byA, byB), y)] };
    },
  });
  return primitive;
}

export const minimumPrimitive = extremum('minimum', BinaryOp.min, (a, b) => compare.lt(a, b));
export const maximumPrimitive = extremum('maximum', BinaryOp.max, (a, b) => compare.gt(a, b));

/** The smaller of a and b; NaN wins */
export function minimum(a: Operand, b: Operand): Tensor {
  return applyBinary(minimumPrimitive, a, b);
}
/** The larger of a and b; NaN wins */
export function maximum(a: Operand, b: Operand): Tensor {
  return applyBinary(maximumPrimitive, a, b);
}
/** x limited to [low, high] */
export function clamp(x: Tensor, low: number, high: number): Tensor {
  if (!(low <= high)) throw new RangeError(`Expected low <= high for clamp but received ${low} and ${high}`);
  return tidy(() => minimum(maximum(x, low), high));
}

// ---- comparisons and choice ----------------------------------------------------------------------------------------------------

function comparison(name: string, op: kernels.CompareOp) {
  return definePrimitive<null>({
    name,
    shape: ([a, b]) => [{ dtype: 'uint8', shape: broadcastShapes(a!.shape, b!.shape) }],
    kernel: ([a, b]) => broadcasting(a!, b!, 'uint8', (...operands) => kernels.compare(op, code(a!), ...operands)),
  });
}

export const comparePrimitives = {
  eq: comparison('eq', CompareOp.eq),
  ne: comparison('ne', CompareOp.ne),
  lt: comparison('lt', CompareOp.lt),
  le: comparison('le', CompareOp.le),
  gt: comparison('gt', CompareOp.gt),
  ge: comparison('ge', CompareOp.ge),
};

type Comparison = (a: Operand, b: Operand) => Tensor;
const comparing =
  (primitive: typeof comparePrimitives.eq): Comparison =>
  (a, b) =>
    applyBinary(primitive, a, b);

/** Comparisons: uint8 tensors of 0 and 1. */
export const compare: Readonly<Record<keyof typeof comparePrimitives, Comparison>> = {
  eq: comparing(comparePrimitives.eq),
  ne: comparing(comparePrimitives.ne),
  lt: comparing(comparePrimitives.lt),
  le: comparing(comparePrimitives.le),
  gt: comparing(comparePrimitives.gt),
  ge: comparing(comparePrimitives.ge),
};

export const selectPrimitive: Primitive<null> = definePrimitive<null>({
  name: 'select',
  shape: ([c, a, b]) => [{ dtype: a!.dtype, shape: broadcastShapes(c!.shape, broadcastShapes(a!.shape, b!.shape)) }],
  kernel: ([c, a, b]) => {
    const shape = broadcastShapes(c!.shape, broadcastShapes(a!.shape, b!.shape));
    const y = Tensor.empty(a!.dtype, shape);
    const strides = (x: Tensor): number[] => broadcastStrides(x.shape, shape);
    if (y.size > 0) kernels.select(code(a!), shape, c!.address, strides(c!), a!.address, strides(a!), b!.address, strides(b!), y.address);
    return [y];
  },
  linear: {
    inputs: [1, 2],
    transpose: ([ct], [c, a, b], _params, isLinear) => [
      null,
      isLinear(1) ? sumTo(select(c!, ct!, 0), a!.shape) : null,
      isLinear(2) ? sumTo(select(c!, 0, ct!), b!.shape) : null,
    ],
  },
});

/** a where the uint8 condition is not 0, else b. */
export function select(condition: Tensor, a: Operand, b: Operand): Tensor {
  if (checkTensor(condition, 'condition').dtype !== 'uint8')
    throw new TypeError(`Expected a uint8 tensor for condition but received ${condition.dtype}`);
  return tidy(() => bind1(selectPrimitive, [condition, ...unify(a, b, cast)], null));
}
