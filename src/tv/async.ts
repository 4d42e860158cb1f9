/** Forms that run off the main thread. */
import { Tracer } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { type Operand, tv2dParams } from '../ops/index.js';
import { DTYPE_CODE, outsideScopes, sizeOf, Tensor, tidy } from '../tensor/index.js';
import { type Prox2dOptions, prepare2d } from './prox2d.js';

/**
 * `prox2d` on a worker thread: the event loop stays free. Not differentiable.
 * @param options those of `prox2d`, and `signal` to give up (checked between sweeps)
 * @throws the signal's reason when it aborts
 */
export async function prox2dAsync(x: Tensor, lambda: Operand, options: Prox2dOptions & { signal?: AbortSignal } = {}): Promise<Tensor> {
  const { signal } = options;
  signal?.throwIfAborted();
  if (x instanceof Tracer)
    throw new TypeError('Expected a tensor with data for prox2dAsync but received a value that is being differentiated');
  // Private handles: the caller may dispose its own, and every scope may end, before the kernel is done.
  const { held, y, params } = tidy(() => {
    const prepared = prepare2d(x, lambda, options);
    return {
      held: prepared.inputs.map((input) => input.alias()),
      params: prepared.params,
      y: outsideScopes(() => Tensor.empty(x.dtype, x.shape)),
    };
  });
  const [image, rows, cols] = held as [Tensor, Tensor, Tensor];
  const wx = params.hasWeightsX ? (held[3] as Tensor) : undefined;
  const wy = params.hasWeightsY ? (held[params.hasWeightsX ? 4 : 3] as Tensor) : undefined;
  const [report, cancel] = outsideScopes(() => [
    Tensor.empty('float64', [sizeOf(x.shape.slice(0, -2)), kernels.TV_REPORT]),
    Tensor.empty('int32', [1], 'cpu'),
  ]) as [Tensor, Tensor];
  const flag = cancel.dataSync() as Int32Array;
  flag[0] = 0;
  const abort = (): void => {
    flag[0] = 1;
  };
  signal?.addEventListener('abort', abort, { once: true });
  try {
    await kernels.prox2dAsync(
      DTYPE_CODE[x.dtype],
      tv2dParams(image, params.method, params.maxIterations),
      params.tolerance,
      image.address,
      rows.address,
      cols.address,
      wx?.address ?? 0,
      wy?.address ?? 0,
      y.address,
      0,
      report.address,
      cancel.address,
    );
    signal?.throwIfAborted();
    return y;
  } catch (error) {
    y.dispose();
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener('abort', abort);
    for (const value of [...held, report, cancel]) value.dispose();
  }
}
