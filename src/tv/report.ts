/** What the iterative solvers say about their result. */
import { kernels } from '../backend/index.js';
import type { Tensor } from '../tensor/index.js';

/** One entry per image, in the order of the leading axes. */
export interface SolverReport {
  /** Certified duality gap: the objective is at most this far above its minimum. */
  gap: Float64Array;
  /** The gap divided by the objective; 0 for an image that is its own solution. */
  relativeGap: Float64Array;
  iterations: Float64Array;
  /** ½|y - x|² + λ TV(y) */
  objective: Float64Array;
}

/** @internal Reads the native report, float64 [batch, 4]. */
export function readReports(report: Tensor): SolverReport {
  const data = report.toTypedArray();
  const batch = data.length / kernels.TV_REPORT;
  const column = (k: number): Float64Array => Float64Array.from({ length: batch }, (_, i) => data[i * kernels.TV_REPORT + k] as number);
  return { gap: column(0), relativeGap: column(1), iterations: column(2), objective: column(3) };
}
