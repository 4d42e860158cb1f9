/** The asynchronous form: same answer, a free event loop, an end on request. */
import { expect, it } from 'vitest';
import { grad, memory, ops, randn, seed, type Tensor, tensor, tv } from '../../src/index.js';
import { values } from '../support/numeric.js';

it('gives the synchronous answer, also when the input is disposed meanwhile', async () => {
  seed(1);
  const x = randn([2, 40, 50]);
  const want = values(tv.prox2d(x, 0.3));
  const before = memory().tensors;
  const pending = tv.prox2dAsync(x, 0.3, { weightsX: tensor(new Float32Array(40 * 49).fill(1), { shape: [40, 49] }) });
  x.dispose();
  const y = await pending;
  values(y).forEach((v, i) => {
    expect(v).toBeCloseTo(want[i] as number, 3);
  });
  y.dispose();
  expect(memory().tensors).toBeLessThanOrEqual(before);
});

it('leaves the event loop free and stops when its signal aborts', async () => {
  seed(2);
  const x = randn([4, 512, 512]);
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  const controller = new AbortController();
  const pending = tv.prox2dAsync(ops.cast(x, 'float64'), 0.7, { tolerance: 1e-15, signal: controller.signal });
  setTimeout(() => controller.abort(new Error('enough')), 30);
  await expect(pending).rejects.toThrow('enough');
  clearInterval(timer);
  expect(turns).toBeGreaterThan(3);
  await expect(tv.prox2dAsync(x, 1, { signal: controller.signal })).rejects.toThrow('enough');
  x.dispose();
});

it('refuses what prox2d refuses, and differentiation', async () => {
  await expect(tv.prox2dAsync(tensor([1]), 1)).rejects.toThrow(/two axes/);
  await expect(tv.prox2dAsync(tensor([[1]]), -1)).rejects.toThrow(/lambda/);
  let pending: Promise<Tensor> | undefined;
  grad((v: Tensor) => {
    pending = tv.prox2dAsync(v, 1);
    return ops.sum(v);
  })(tensor([[1, 2]]));
  await expect(pending).rejects.toThrow(/being differentiated/);
});
