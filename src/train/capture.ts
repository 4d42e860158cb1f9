/** Captured steps: the work of one training step, recorded once and replayed without the host's part. */
import { flatten, type Tree } from '../autodiff/index.js';
import { device, Recording, recording } from '../backend/index.js';
import { type DType, formatShape, outsideScopes, type Shape, sameShape, Tensor, tidy } from '../tensor/index.js';

/** What `capture` returns: the step itself, to be called as often as wanted. */
export interface CapturedStep<Inputs extends readonly Tensor[], Result> {
  (...inputs: Inputs): Result;
  /** Frees the recording and the memory that it holds. Another call of the step would begin a new one. */
  dispose(): void;
  [Symbol.dispose](): void;
}

export interface CaptureOptions {
  /**
   * Called once with the reason when the step cannot be recorded; every call then runs the step as it is. Without it the second call throws.
   */
  fallback?: (reason: string) => void;
}

/** A recording, the tensors that it reads its inputs from, and those that it writes its results to. */
interface Captured {
  recording: Recording;
  inputs: Tensor[];
  outputs: Tensor[];
  rebuild(outputs: readonly Tensor[]): unknown;
}

/** Recordings whose step was forgotten without `dispose`. */
const registry = new FinalizationRegistry<{ captured: Captured | null }>((state) => release(state));

function release(state: { captured: Captured | null }): void {
  if (state.captured === null) return;
  const { recording, inputs, outputs } = state.captured;
  recording.dispose();
  for (const t of [...inputs, ...outputs]) t.dispose();
  state.captured = null;
}

/**
 * The same function, recorded on the GPU: the first call runs it, the second records it as a CUDA graph, and every further one replays
 * the graph, which costs the host one launch instead of one per kernel. On the CPU every call runs it. The results are the same bits.
 *
 * What the function computes from its inputs, from parameters and from other tensors that keep their memory is computed anew by every
 * replay, updates in place (`optimizer.step`, running statistics) and random numbers of a `Generator` included. Its JavaScript runs only
 * twice: numbers and arrays that it computes, and tensors that it makes from them, stay what they were; optimisers count their steps and
 * read their learning rate at every call.
 *
 * @param step takes tensors, whose shapes must not change between calls, and returns a tensor, arrays or records of them, or nothing
 * @returns the step. Its results belong to the caller (or the open `tidy`), as those of any operation.
 * @throws TypeError when the step returns anything else than tensors, or a promise; RangeError when an input has another shape than in the
 *   first call; Error with the operation's name when the step reads a tensor's elements on the host or needs the CPU (`item()`, `data()`,
 *   solvers that stop at a tolerance): return the tensor and read it outside
 */
// biome-ignore lint/suspicious/noConfusingVoidType: a step that only updates returns nothing
export function capture<Inputs extends readonly Tensor[], Result extends Tree | undefined | void>(
  step: (...inputs: Inputs) => Result,
  { fallback }: CaptureOptions = {},
): CapturedStep<Inputs, Result> {
  if (typeof step !== 'function') throw new TypeError(`Expected a function for step but received ${step === null ? 'null' : typeof step}`);
  const state: { captured: Captured | null; warm: boolean; refused: boolean; shapes: { dtype: DType; shape: Shape }[] | null } = {
    captured: null,
    warm: false,
    refused: false,
    shapes: null,
  };

  const check = (inputs: Inputs): void => {
    for (const x of inputs) {
      if (!(x instanceof Tensor)) throw new TypeError(`Expected tensors for the inputs of a captured step but received ${typeof x}`);
    }
    state.shapes ??= inputs.map(({ dtype, shape }) => ({ dtype, shape }));
    const same =
      inputs.length === state.shapes.length &&
      inputs.every((x, i) => {
        const first = state.shapes?.[i];
        return first !== undefined && first.dtype === x.dtype && sameShape(first.shape, x.shape);
      });
    if (!same) {
      const list = (all: readonly { dtype: DType; shape: Shape }[]): string =>
        all.map(({ dtype, shape }) => `${dtype} ${formatShape(shape)}`).join(', ') || 'none';
      throw new RangeError(
        `Expected ${list(state.shapes)} for the inputs of a captured step, as in its first call, but received ${list(inputs)}`,
      );
    }
  };

  const results = (result: Result): { leaves: Tensor[]; rebuild(leaves: readonly Tensor[]): unknown } =>
    result === undefined ? { leaves: [], rebuild: () => undefined } : flatten(result as Tree);

  const runNow = (inputs: Inputs): Result =>
    tidy(() => {
      const result = step(...inputs);
      if (!(result instanceof Promise)) results(result);
      return result;
    });

  const record = (inputs: Inputs): Captured => {
    const made = new Recording(device());
    const held: Tensor[] = [];
    try {
      outsideScopes(() => {
        for (const x of inputs) held.push(copyOf(x));
      });
      const { leaves, rebuild } = made.record(() =>
        tidy(() => {
          const flat = results(step(...(held as readonly Tensor[] as Inputs)));
          // Handles outside every scope: the memory is the recording's.
          return { leaves: flat.leaves.map((t) => t.alias()), rebuild: flat.rebuild };
        }),
      );
      return { recording: made, inputs: held, outputs: leaves, rebuild };
    } catch (error) {
      made.dispose();
      for (const t of held) t.dispose();
      throw error;
    }
  };

  const run = (...inputs: Inputs): Result => {
    check(inputs);
    // Inside another recording it is part of that one.
    if (device() === 'cpu' || recording() !== null || state.refused) return runNow(inputs);
    if (!state.warm) {
      // Caches fill, and the libraries choose their algorithms, before anything is recorded.
      const result = runNow(inputs);
      state.warm = true;
      return result;
    }
    if (state.captured === null) {
      try {
        state.captured = record(inputs);
      } catch (error) {
        if (fallback === undefined) throw error;
        state.refused = true;
        fallback((error as Error).message);
        return runNow(inputs);
      }
    } else {
      for (const [i, x] of inputs.entries()) state.captured.inputs[i]?.assign(x);
      state.captured.recording.replay();
    }
    const { outputs, rebuild } = state.captured;
    return rebuild(outputs.map(copyOf)) as Result;
  };

  const dispose = (): void => {
    release(state);
    state.warm = state.refused = false;
    state.shapes = null;
  };
  const captured = Object.assign(run, { dispose, [Symbol.dispose]: dispose });
  registry.register(captured, state);
  return captured;
}

function copyOf(t: Tensor): Tensor {
  const copy = Tensor.empty(t.dtype, [...t.shape]);
  copy.assign(t);
  return copy;
}
