/** Forms that run off the main thread. */
import { Tracer } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { type Operand, rofDualShape, rofGeometry, tv2dParams } from '../ops/index.js';
import { DTYPE_CODE, type DType, outsideScopes, type Shape, sizeOf, Tensor, tidy } from '../tensor/index.js';
import { type Prepared2d, type Prox2dOptions, prepare2d, restore, type Solution2d } from './prox2d.js';
import { readReports } from './report.js';
import { prepareRof, type RofOptions, type RofSolution } from './rof.js';

/** An end on request. */
export interface Abortable {
  signal?: AbortSignal;
}

/** A tensor outside every scope: it lives until it is disposed, whatever ends meanwhile. */
const kept = (dtype: DType, shape: Shape): Tensor => outsideScopes(() => Tensor.empty(dtype, shape));

/** Runs a kernel that looks at a flag; `held` is given back afterwards, `results` where it fails or is given up. */
async function cancellable(
  signal: AbortSignal | undefined,
  held: readonly (Tensor | undefined)[],
  results: readonly (Tensor | undefined)[],
  call: (cancel: number) => Promise<void>,
): Promise<void> {
  const cancel = outsideScopes(() => Tensor.empty('int32', [1], 'cpu'));
  const flag = cancel.dataSync() as Int32Array;
  flag[0] = 0;
  const abort = (): void => {
    flag[0] = 1;
  };
  signal?.addEventListener('abort', abort, { once: true });
  try {
    await call(cancel.address);
    signal?.throwIfAborted();
  } catch (error) {
    for (const value of results) value?.dispose();
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener('abort', abort);
    for (const value of [...held, cancel]) value?.dispose();
  }
}

function checkData(x: Tensor, name: string): void {
  if (x instanceof Tracer) throw new TypeError(`Expected a tensor with data for ${name} but received a value that is being differentiated`);
}

/** Private handles: the caller may dispose its own, and every scope may end, before the kernel is done. */
const aliases = (inputs: readonly Tensor[]): Tensor[] => inputs.map((input) => input.alias());

async function run2d(x: Tensor, lambda: Operand, options: Prox2dOptions & Abortable, withDual: boolean, name: string): Promise<Solution2d> {
  const { signal } = options;
  signal?.throwIfAborted();
  checkData(x, name);
  const { held, params, original, valid } = tidy(() => {
    const prepared: Prepared2d = prepare2d(x, lambda, options);
    return {
      held: aliases(prepared.inputs),
      params: prepared.params,
      original: x.alias(),
      valid: prepared.valid?.alias(),
    };
  });
  const { dtype, shape } = original;
  const images = sizeOf(shape.slice(0, -2));
  const y = kept(dtype, shape);
  const dual = withDual ? kept(dtype, [...shape.slice(0, -2), 2, ...shape.slice(-2)]) : undefined;
  const labels = withDual ? kept('int32', shape) : undefined;
  const report = kept('float64', [images, kernels.TV_REPORT]);
  const [image, rows, cols] = held as [Tensor, Tensor, Tensor];
  const wx = params.hasWeightsX ? (held[3] as Tensor) : undefined;
  const wy = params.hasWeightsY ? (held[params.hasWeightsX ? 4 : 3] as Tensor) : undefined;
  const init = params.hasInit ? held.at(-1) : undefined;
  await cancellable(signal, [...held, labels], [y, dual, report, original, valid], (cancel) =>
    kernels.prox2dAsync(
      DTYPE_CODE[dtype],
      tv2dParams(image, params.method, params.maxIterations),
      params.tolerance,
      image.address,
      rows.address,
      cols.address,
      wx?.address ?? 0,
      wy?.address ?? 0,
      init?.address ?? 0,
      y.address,
      dual?.address ?? 0,
      labels?.address ?? 0,
      report.address,
      cancel,
    ),
  );
  const restored = valid === undefined ? y : outsideScopes(() => restore(y, original, valid));
  const reports = readReports(report);
  for (const value of [report, original, valid, ...(restored === y ? [] : [y])]) value?.dispose();
  return { y: restored, dual: dual as Tensor, ...reports };
}

/**
 * `prox2d` on a worker thread: the event loop stays free. Not differentiable.
 * @param options those of `prox2d`, and `signal` to give up (checked between sweeps)
 * @throws the signal's reason when it aborts
 */
export async function prox2dAsync(x: Tensor, lambda: Operand, options: Prox2dOptions & Abortable = {}): Promise<Tensor> {
  return (await run2d(x, lambda, options, false, 'prox2dAsync')).y;
}

/** @internal `solve2d` on a worker thread. */
export function solve2dAsync(x: Tensor, lambda: Operand, options: Prox2dOptions & Abortable = {}): Promise<Solution2d> {
  return run2d(x, lambda, options, true, 'solve2dAsync');
}

/** @internal `solveRof` on a worker thread. */
export async function solveRofAsync(x: Tensor, lambda: Operand, options: RofOptions & Abortable = {}): Promise<RofSolution> {
  const { signal } = options;
  signal?.throwIfAborted();
  checkData(x, 'solveRofAsync');
  const { held, params } = tidy(() => {
    const prepared = prepareRof(x, lambda, options, true);
    return { held: aliases(prepared.inputs), params: prepared.params };
  });
  const [image, bound, init] = held as [Tensor, Tensor, Tensor | undefined];
  const geometry = rofGeometry(image.shape, params);
  const y = kept(image.dtype, image.shape);
  const dual = kept(image.dtype, rofDualShape(image.shape, params.dims));
  const report = kept('float64', [geometry.batch, kernels.TV_REPORT]);
  await cancellable(signal, held, [y, dual, report], (cancel) =>
    kernels.rofAsync(
      DTYPE_CODE[image.dtype],
      geometry,
      params.tolerance,
      image.address,
      bound.address,
      init?.address ?? 0,
      y.address,
      dual.address,
      report.address,
      cancel,
    ),
  );
  const reports = readReports(report);
  report.dispose();
  return { y, dual, ...reports };
}
