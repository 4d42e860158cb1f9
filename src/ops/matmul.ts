/** Matrix products, batched. */
import { bind1, definePrimitive, type Primitive } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { broadcastShapes, formatShape, type Shape, sizeOf, Tensor, tidy } from '../tensor/index.js';
import { broadcastTo, reshape } from './broadcast.js';
import { checkFloat, code, withFactors } from './common.js';

interface MatmulParams {
  transposeA: boolean;
  transposeB: boolean;
}

/** Inputs are [batch, rows, columns] before their transposition. */
function extents(a: Shape, b: Shape, { transposeA, transposeB }: MatmulParams): { m: number; n: number; k: number } {
  return {
    m: a[transposeA ? 2 : 1] as number,
    k: a[transposeA ? 1 : 2] as number,
    n: b[transposeB ? 1 : 2] as number,
  };
}

export const matmulPrimitive: Primitive<MatmulParams> = definePrimitive<MatmulParams>({
  name: 'matmul',
  shape: ([a, b], params) => {
    const { m, n } = extents(a!.shape, b!.shape, params);
    return [{ dtype: a!.dtype, shape: [a!.shape[0] as number, m, n] }];
  },
  kernel: ([a, b], params) => {
    const { m, n, k } = extents(a!.shape, b!.shape, params);
    const batch = a!.shape[0] as number;
    const c = Tensor.empty(a!.dtype, [batch, m, n]);
    withFactors([a!, b!], (p, q) =>
      kernels.matmul(code(a!), batch, m, n, k, +params.transposeA, +params.transposeB, p!, m * k, q!, k * n, c.address),
    );
    return [c];
  },
  linear: {
    multilinear: true,
    // C = A B:  A <- C Bᵀ,  B <- Aᵀ C; a transposed operand swaps the factors.
    transpose: ([ct], [a, b], { transposeA, transposeB }, isLinear) => [
      isLinear(0) ? (transposeA ? product(b!, ct!, transposeB, true) : product(ct!, b!, false, !transposeB)) : null,
      isLinear(1) ? (transposeB ? product(ct!, a!, true, transposeA) : product(a!, ct!, !transposeA, false)) : null,
    ],
  },
});

const product = (a: Tensor, b: Tensor, transposeA: boolean, transposeB: boolean): Tensor =>
  bind1(matmulPrimitive, [a, b], { transposeA, transposeB });

/**
 * The matrix product over the last two axes; leading axes broadcast.
 * @param a [..., m, k], or [..., k, m] with `transposeA`
 * @param b [..., k, n], or [..., n, k] with `transposeB`
 * @returns [..., m, n]
 */
export function matmul(a: Tensor, b: Tensor, options: Partial<MatmulParams> = {}): Tensor {
  return tidy(() => {
    checkFloat(a, 'a');
    checkFloat(b, 'b');
    const params = { transposeA: options.transposeA ?? false, transposeB: options.transposeB ?? false };
    const inner = (x: Tensor, transposed: boolean, fromEnd: number): number | undefined =>
      x.shape[x.rank - (transposed ? 3 - fromEnd : fromEnd)];
    if (a.rank < 2 || b.rank < 2 || a.dtype !== b.dtype || inner(a, params.transposeA, 1) !== inner(b, params.transposeB, 2)) {
      throw new RangeError(
        `Expected matrices whose inner extents agree but received ${a.dtype} ${formatShape(a.shape)} and ${b.dtype} ${formatShape(b.shape)}`,
      );
    }
    const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2));
    const flat = (x: Tensor): Tensor => reshape(broadcastTo(x, [...batch, ...x.shape.slice(-2)]), [sizeOf(batch), ...x.shape.slice(-2)]);
    const c = product(flat(a), flat(b), params.transposeA, params.transposeB);
    return reshape(c, [...batch, ...c.shape.slice(-2)]);
  });
}
