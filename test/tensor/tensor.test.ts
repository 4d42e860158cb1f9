/** Construction, zero-copy views, lifetimes and errors of tensors. */
import { describe, expect, it } from 'vitest';
import { arange, full, Generator, memory, ones, ops, randn, scalar, seed, Tensor, tensor, tidy, zeros } from '../../src/index.js';

describe('construction', () => {
  it('from numbers, nested arrays and typed arrays', () => {
    expect(tensor(3).shape).toEqual([]);
    expect(
      tensor([
        [1, 2, 3],
        [4, 5, 6],
      ]).toArray(),
    ).toEqual([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    expect(tensor(new Float64Array([1, 2])).dtype).toBe('float64');
    expect(tensor([1.9, -1.9, 300], { dtype: 'int32' }).toArray()).toEqual([1, -1, 300]);
    expect(tensor([1, 2, 3, 4], { shape: [2, 2] }).shape).toEqual([2, 2]);
    expect(tensor([]).shape).toEqual([0]);
    expect(arange(2, 5).toArray()).toEqual([2, 3, 4]);
    expect(full([2], 7, 'uint8').toArray()).toEqual([7, 7]);
    expect([zeros([2]).toArray(), ones([1]).toArray(), scalar(2).item()]).toEqual([[0, 0], [1], 2]);
  });

  it('refuses bad input in the usual sentence', () => {
    expect(() => tensor([[1, 2], [3]])).toThrow(/^Expected nested arrays of equal lengths/);
    expect(() => tensor('x' as never)).toThrow(/^Expected numbers .* but received 'x'/);
    expect(() => tensor([1, 2], { shape: [3] })).toThrow(/^Expected 3 elements for shape \[3\] but received 2/);
    expect(() => zeros([-1])).toThrow(/^Expected a list of integers >= 0 for shape/);
    expect(() => zeros([1, 1, 1, 1, 1, 1, 1, 1, 1])).toThrow(/at most 8 axes/);
    expect(() => zeros([2], 'float16' as never)).toThrow(/^Expected 'float32'/);
    expect(() => zeros([2, 3]).item()).toThrow(/one element/);
    expect(() => Tensor.from([1] as never)).toThrow(/^Expected a Float32Array/);
    expect(() => zeros([2 ** 30, 2 ** 30])).toThrow(/Out of memory/);
  });
});

describe('memory', () => {
  it('dataSync shares the memory, toTypedArray does not', () => {
    const x = tensor([1, 2]);
    const view = x.dataSync();
    view[0] = 5;
    expect(x.toArray()).toEqual([5, 2]);
    x.toTypedArray()[0] = 9;
    expect(x.toArray()).toEqual([5, 2]);
    x.dispose();
    expect(view[0]).toBe(5);
  });

  it('Tensor.from borrows the array, and notices when its buffer is transferred', () => {
    const data = new Float32Array([1, 2, 3, 4]);
    const x = Tensor.from(data, [2, 2]);
    data[3] = 8;
    expect(ops.sum(x).item()).toBe(14);
    const middle = Tensor.from(data.subarray(1, 3));
    expect(middle.toArray()).toEqual([2, 3]);
    structuredClone(data, { transfer: [data.buffer] });
    expect(() => ops.sum(x)).toThrow(/transferred/);
  });

  it('Tensor.from borrows shared memory, which worker threads fill', () => {
    const shared = new Float32Array(new SharedArrayBuffer(32), 8, 4);
    shared.set([1, 2, 3, 4]);
    const x = Tensor.from(shared, [2, 2]);
    expect(ops.sum(x).item()).toBe(10);
    shared[0] = 11;
    expect(ops.sum(x).item()).toBe(20);
    expect(x.dataSync().buffer).toBe(shared.buffer);
  });

  it('aligns native storage to 64 bytes', () => {
    for (const n of [1, 3, 17, 1000, 300_000]) expect(zeros([n]).address % 64).toBe(0);
  });

  it('tidy frees all but what it returns, nested and when it throws', () => {
    const before = memory().tensors;
    const kept = tidy(() => {
      const a = ones([3]);
      const inner = tidy(() => [ops.add(a, 1), { deep: ops.add(a, 2) }] as const);
      ops.mul(inner[0], 2);
      return inner;
    });
    expect(memory().tensors).toBe(before + 2);
    expect(kept[1].deep.toArray()).toEqual([3, 3, 3]);
    kept[0].dispose();
    kept[1].deep.dispose();
    expect(() =>
      tidy(() => {
        ones([3]);
        throw new Error('x');
      }),
    ).toThrow('x');
    expect(memory().tensors).toBe(before);
    expect(() => tidy((() => Promise.resolve(1)) as never)).toThrow(/synchronous/);
  });

  it('refuses use after dispose, allows disposing twice, and supports using', () => {
    const x = ones([2]);
    x.dispose();
    x.dispose();
    expect(() => ops.neg(x)).toThrow(/disposed/);
    expect(() => x.dataSync()).toThrow(/disposed/);
    const before = memory().tensors;
    {
      using y = ones([2]);
      expect(y.size).toBe(2);
    }
    expect(memory().tensors).toBe(before);
  });

  it('a reshaped tensor keeps the memory of the one it came from', () => {
    const x = arange(6);
    const y = ops.reshape(x, [2, 3]);
    x.dispose();
    expect(y.toArray()).toEqual([
      [0, 1, 2],
      [3, 4, 5],
    ]);
    y.dispose();
  });
});

describe('random numbers', () => {
  it('depend on seed and position only', () => {
    const all = new Generator(7).normal([100]).toArray() as number[];
    const parts = new Generator(7);
    const joined = [...(parts.normal([33]).toArray() as number[]), ...(parts.normal([67]).toArray() as number[])];
    expect(joined).toEqual(all);
    expect(new Generator(8).normal([100]).toArray()).not.toEqual(all);
    seed(7);
    expect(randn([100]).toArray()).toEqual(all);
  });

  it('have the right moments', () => {
    const g = new Generator(1);
    const n = 200_000;
    const z = g.normal([n], { mean: 2, std: 3 });
    const mean = ops.mean(z).item();
    expect(mean).toBeCloseTo(2, 1);
    expect(Math.sqrt(ops.mean(ops.square(ops.sub(z, mean))).item())).toBeCloseTo(3, 1);
    const u = g.uniform([n], { low: -1, high: 1 });
    expect(ops.min(u).item()).toBeGreaterThanOrEqual(-1);
    expect(ops.max(u).item()).toBeLessThan(1);
    expect(ops.mean(u).item()).toBeCloseTo(0, 1);
    expect(() => new Generator(-1)).toThrow(/^Expected an integer/);
  });
});
