/** Products whose factors are rounded to bfloat16. */
import { afterEach, describe, expect, it } from 'vitest';
import { grad, ops, precision, randn, seed, setPrecision, type Tensor, tensor, tidy, train } from '../../src/index.js';

afterEach(() => setPrecision('float32'));

/** The nearest bfloat16, ties to even, by its definition. */
function nearest(v: number): number {
  if (!Number.isFinite(v) || v === 0) return v;
  const unit = 2 ** (Math.max(-126, Math.floor(Math.log2(Math.abs(v)))) - 7);
  const scaled = v / unit;
  const low = Math.floor(scaled);
  const rest = scaled - low;
  return (rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? low + 1 : low) * unit;
}

const rounded = (t: Tensor): Tensor => tensor(Float32Array.from(t.toTypedArray(), nearest), { shape: t.shape });
const identity = tensor([[1]]);
/** Through the product with 1. */
const round = (values: number[]): number[] =>
  train.mixedPrecision(() => tidy(() => [...ops.matmul(tensor(values.map((v) => [v])), identity).dataSync()]));

describe('bfloat16 products', () => {
  it('round to the nearest, ties to even, and keep infinities, NaN and zeros', () => {
    expect(round([1, -2.5, 1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20, 3.3895313892515355e38, 2 ** -130])).toEqual([
      1,
      -2.5,
      1,
      1 + 2 ** -6,
      1 + 2 ** -7,
      3.3895313892515355e38,
      2 ** -130,
    ]);
    expect(round([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN])).toEqual([
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      Number.NaN,
    ]);
    expect(round([3.4e38])).toEqual([Number.POSITIVE_INFINITY]);
    seed(2);
    const many = [...randn([500]).toTypedArray()];
    expect(round(many)).toEqual(many.map(nearest));
  });

  it('are the products of the rounded factors, in every pass of a convolution', () => {
    seed(4);
    const [x, w, b, g] = [randn([2, 3, 6, 5]), randn([4, 3, 3, 3]), randn([4]), randn([2, 4, 6, 5])];
    const layer = (u: Tensor, v: Tensor, c: Tensor): Tensor => ops.convLayer2d(u, v, c, { padding: 1 });
    const pull = (u: Tensor, v: Tensor, c: Tensor): Tensor[] =>
      grad((p: Tensor[]) => ops.sum(ops.mul(layer(p[0] as Tensor, p[1] as Tensor, p[2] as Tensor), g)))([u, v, c]) as Tensor[];
    const [y, [dx, dw, db]] = train.mixedPrecision(() => [layer(x, w, b), pull(x, w, b)] as const);
    expect(y.dataSync()).toEqual(layer(rounded(x), rounded(w), b).dataSync());
    // The cotangent is rounded where it is a factor; the bias's derivative sums it as it is.
    const coarse = rounded(g);
    const [ex, ew] = grad((p: Tensor[]) => ops.sum(ops.mul(ops.conv2d(p[0] as Tensor, p[1] as Tensor, { padding: 1 }), coarse)))([
      rounded(x),
      rounded(w),
    ]) as Tensor[];
    expect(dx?.dataSync()).toEqual(ex?.dataSync());
    expect(dw?.dataSync()).toEqual(ew?.dataSync());
    // In whatever order the device sums: rounded terms would be off by 1e-2.
    const sums = ops.sum(g, { axes: [0, 2, 3] }).dataSync();
    db?.dataSync().forEach((v, k) => expect(v).toBeCloseTo(sums[k] as number, 5));
    const replicated = train.mixedPrecision(() => ops.convReplicate2d(x, w));
    expect(replicated.dataSync()).toEqual(ops.convReplicate2d(rounded(x), rounded(w)).dataSync());
  });

  it('leave float64 and everything outside alone, and refuse other names', () => {
    seed(5);
    const [a, b] = [randn([5, 6], 'float64'), randn([6, 4], 'float64')];
    const before = ops.matmul(a, b).dataSync();
    expect(train.mixedPrecision(() => ops.matmul(a, b)).dataSync()).toEqual(before);
    expect(precision()).toBe('float32');
    expect(() =>
      train.mixedPrecision(() => {
        throw new Error('inside');
      }),
    ).toThrow('inside');
    expect(precision()).toBe('float32');
    expect(() => setPrecision('float16' as never)).toThrow("Expected 'float32' or 'bfloat16' for precision but received float16");
  });
});
