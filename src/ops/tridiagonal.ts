/**
 * Batched tridiagonal systems as primitives. Systems run along the last axis. A solve is linear in its right-hand side; its derivative
 * in the matrix follows from A dx = db - dA x.
 */
import { bind1, definePrimitive, type Primitive, sumTangents, type Tangent } from '../autodiff/index.js';
import { kernels, recording } from '../backend/index.js';
import { linesAlong, type Shape, Tensor } from '../tensor/index.js';
import { code } from './common.js';
import { add, mul, neg, sub } from './elementwise.js';
import { narrow, pad } from './movement.js';

const systems = (shape: Shape): kernels.Lines => linesAlong(shape, shape.length - 1);

function checkStatus(status: Tensor, name: string, meaning: string): void {
  if (recording() !== null) return; // nothing can be read inside a captured step: its first call has looked
  // Asked natively: a look at every system's status from here would cost a fifth of the factorisation of short systems.
  const worst = Tensor.empty('int32', []);
  kernels.reduce(kernels.ReduceOp.max, code(status), { outer: 1, n: status.size, inner: 1 }, status.address, worst.address);
  const failed = worst.item() !== 0;
  worst.dispose();
  if (!failed) return;
  const values = status.toTypedArray();
  const bad = values.findIndex((value) => value !== 0);
  if (bad >= 0) throw new RangeError(`Expected ${meaning} for ${name} but pivot ${values[bad]} of system ${bad} is not`);
}

/** v shifted by one along the last axis, a zero moving in: (down) [0, v], or (up) [v, 0]; v has n - 1 entries, the result n. */
const shift = (v: Tensor, down: boolean): Tensor =>
  pad(
    v,
    v.shape.map((_, i): [number, number] => (i === v.rank - 1 ? (down ? [1, 0] : [0, 1]) : [0, 0])),
  );

/** (A x) for the tridiagonal A with diagonals lower, d, upper. */
export function tridiagonalProduct(lower: Tensor, d: Tensor, upper: Tensor, x: Tensor): Tensor {
  let y = mul(d, x);
  if ((x.shape[x.rank - 1] as number) > 1) {
    y = add(y, shift(mul(upper, narrow(x, -1, 1)), false));
    y = add(y, shift(mul(lower, narrow(x, -1, 0, -1)), true));
  }
  return y;
}

/** dA x for tangents of the diagonals, null where they all are. */
function matrixTangent(dLower: Tangent, dD: Tangent, dUpper: Tangent, x: Tensor): Tangent {
  const many = (x.shape[x.rank - 1] as number) > 1;
  let total: Tangent = dD === null ? null : mul(dD, x);
  if (many && dUpper !== null) total = sumTangents(total, shift(mul(dUpper, narrow(x, -1, 1)), false));
  if (many && dLower !== null) total = sumTangents(total, shift(mul(dLower, narrow(x, -1, 0, -1)), true));
  return total;
}

const rightHandSide = (db: Tangent, dAx: Tangent): Tangent => (dAx === null ? db : db === null ? neg(dAx) : sub(db, dAx));

/** Inputs: d [..., n], e [..., n - 1], b [..., n]; symmetric positive definite. */
export const ptsvPrimitive: Primitive<null> = definePrimitive<null>({
  name: 'ptsv',
  shape: ([, , b]) => [{ dtype: b!.dtype, shape: b!.shape }],
  kernel: ([d, e, b]) => {
    const x = Tensor.empty(b!.dtype, b!.shape);
    const status = Tensor.empty('int32', b!.shape.slice(0, -1));
    if (x.size > 0) {
      kernels.ptsv(code(b!), systems(b!.shape), d!.address, e!.address, b!.address, x.address, status.address);
      checkStatus(status, 'd and e', 'positive definite matrices');
    }
    return [x];
  },
  // The matrix is its own transpose.
  linear: { inputs: [2], transpose: ([ct], [d, e]) => [null, null, bind1(ptsvPrimitive, [d!, e!, ct!], null)] },
  jvp: ([d, e, b], [dd, de, db]) => {
    const x = bind1(ptsvPrimitive, [d!, e!, b!], null);
    const rhs = rightHandSide(db ?? null, matrixTangent(de ?? null, dd ?? null, de ?? null, x));
    return { outputs: [x], tangents: [rhs && bind1(ptsvPrimitive, [d!, e!, rhs], null)] };
  },
});

/** Inputs: dl [..., n - 1], d [..., n], du [..., n - 1], b [..., n]. */
export const gtsvPrimitive: Primitive<null> = definePrimitive<null>({
  name: 'gtsv',
  shape: ([, , , b]) => [{ dtype: b!.dtype, shape: b!.shape }],
  kernel: ([dl, d, du, b]) => {
    const x = Tensor.empty(b!.dtype, b!.shape);
    const status = Tensor.empty('int32', b!.shape.slice(0, -1));
    if (x.size > 0) {
      kernels.gtsv(code(b!), systems(b!.shape), dl!.address, d!.address, du!.address, b!.address, x.address, status.address);
      checkStatus(status, 'dl, d and du', 'regular matrices');
    }
    return [x];
  },
  // A⁻ᵀ: the off-diagonals change places.
  linear: { inputs: [3], transpose: ([ct], [dl, d, du]) => [null, null, null, bind1(gtsvPrimitive, [du!, d!, dl!, ct!], null)] },
  jvp: ([dl, d, du, b], [ddl, dd, ddu, db]) => {
    const x = bind1(gtsvPrimitive, [dl!, d!, du!, b!], null);
    const rhs = rightHandSide(db ?? null, matrixTangent(ddl ?? null, dd ?? null, ddu ?? null, x));
    return { outputs: [x], tangents: [rhs && bind1(gtsvPrimitive, [dl!, d!, du!, rhs], null)] };
  },
});

/** The factorisation A = L D Lᵀ; a plain function of concrete tensors. */
export function factorise(d: Tensor, e: Tensor): { d: Tensor; l: Tensor } {
  const dOut = Tensor.empty(d.dtype, d.shape);
  const l = Tensor.empty(e.dtype, e.shape);
  const status = Tensor.empty('int32', d.shape.slice(0, -1));
  if (d.size > 0) {
    kernels.pttrf(code(d), systems(d.shape), d.address, e.address, dOut.address, l.address, status.address);
    checkStatus(status, 'd and e', 'positive definite matrices');
  }
  status.dispose();
  return { d: dOut, l };
}

/** Inputs: d and l of the factorisation, b. Linear in b, self-adjoint; the factors are constants. */
export const pttrsPrimitive: Primitive<null> = definePrimitive<null>({
  name: 'pttrs',
  shape: ([, , b]) => [{ dtype: b!.dtype, shape: b!.shape }],
  kernel: ([d, l, b]) => {
    const x = Tensor.empty(b!.dtype, b!.shape);
    if (x.size > 0) kernels.pttrs(code(b!), systems(b!.shape), d!.address, l!.address, b!.address, x.address);
    return [x];
  },
  linear: { inputs: [2], transpose: ([ct], [d, l]) => [null, null, bind1(pttrsPrimitive, [d!, l!, ct!], null)] },
});
