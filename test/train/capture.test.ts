/** `train.capture` on the CPU: the function itself, with the checks that every device makes. test/cuda/capture.test.ts has the recordings. */
import { describe, expect, it } from 'vitest';
import { memory, nn, ops, optim, randn, seed, type Tensor, tensor, tidy, train, zeros } from '../../src/index.js';

describe('train.capture', () => {
  it('runs the function: the same bits as without', () => {
    const run = (wrap: boolean): Float32Array => {
      seed(11);
      const model = new nn.Conv2d({ inChannels: 1, outChannels: 2, kernelSize: 3, padding: 1 });
      const optimizer = new optim.Adam(model.namedParameters());
      const step = (x: Tensor): Tensor => {
        const { value, gradients } = nn.valueAndGrad(model, () => ops.mean(ops.square(model.forward(ops.add(x, randn(x.shape))))));
        optimizer.step(gradients);
        return value;
      };
      const captured = wrap ? train.capture(step) : step;
      const losses = tidy(() => Float32Array.from({ length: 5 }, () => captured(randn([2, 1, 6, 6])).item()));
      optimizer.dispose();
      return losses;
    };
    expect(run(true)).toEqual(run(false));
  });

  it('frees what the step makes and hands its results to the caller', () => {
    const step = train.capture((x: Tensor) => ({ sum: ops.sum(ops.mul(x, 2)), all: [ops.neg(x)] }));
    const x = tensor([1, 2, 3]);
    const before = memory().tensors;
    const result = step(x);
    expect(memory().tensors).toBe(before + 2);
    expect(result.sum.item()).toBe(12);
    expect([...(result.all[0] as Tensor).dataSync()]).toEqual([-1, -2, -3]);
    result.sum.dispose();
    result.all[0]?.dispose();
    x.dispose();
    step.dispose();
  });

  it('refuses other shapes than those of the first call until it is disposed', () => {
    const step = train.capture((x: Tensor) => ops.sum(x));
    tidy(() => {
      step(zeros([2, 3]));
      expect(() => step(zeros([3, 2]))).toThrow(
        'Expected float32 [2, 3] for the inputs of a captured step, as in its first call, but received float32 [3, 2]',
      );
      step.dispose();
      expect(step(zeros([3, 2])).item()).toBe(0);
    });
  });

  it('refuses results that a replay could not renew, promises, and what is no function', () => {
    expect(() => train.capture((() => 3) as never)()).toThrow('Expected a tensor, or arrays and records of tensors, but received number');
    expect(() => train.capture((async () => {}) as never)()).toThrow('Expected a synchronous function');
    expect(() => train.capture(3 as never)).toThrow('Expected a function for step but received number');
    expect(() => train.capture((x: Tensor) => x)(3 as never)).toThrow('Expected tensors for the inputs of a captured step');
    expect(train.capture(() => undefined)()).toBeUndefined();
  });
});
