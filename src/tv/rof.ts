/** Isotropic total variation: the model of Rudin, Osher and Fatemi. */
import { bind } from '../autodiff/index.js';
import { type Operand, rofPrimitive } from '../ops/index.js';
import { type Tensor, tidy } from '../tensor/index.js';
import { spreadLambda } from './lambda.js';
import { checkImage, checkIterations, checkTolerance } from './prox2d.js';
import { readReports, type SolverReport } from './report.js';

export interface RofOptions {
  /** Relative duality gap at which an image is done. Default 1e-6. */
  tolerance?: number;
  /** Default 10000. */
  maxIterations?: number;
}

/**
 * Each image of `x` replaced by argmin_Y ½|Y - X|² + λ Σ sqrt(dx² + dy²), with forward differences that are 0 across the border.
 * @param x [..., height, width], float32 or float64
 * @param lambda a number >= 0, or a tensor that broadcasts against the leading axes
 * @throws RangeError for a negative or NaN lambda, an empty image, or shapes that do not fit
 */
export function rof(x: Tensor, lambda: Operand, options: RofOptions = {}): Tensor {
  return tidy(() => run(x, lambda, options)[0]);
}

/** `rof` with its certificate. */
export function solveRof(x: Tensor, lambda: Operand, options: RofOptions = {}): SolverReport & { y: Tensor } {
  return tidy(() => {
    const [y, report] = run(x, lambda, options);
    return { y, ...readReports(report) };
  });
}

function run(x: Tensor, lambda: Operand, options: RofOptions): [Tensor, Tensor] {
  checkImage(x);
  const params = { tolerance: checkTolerance(options.tolerance), maxIterations: checkIterations(options.maxIterations, 'maxIterations') };
  return bind(rofPrimitive, [x, spreadLambda(lambda, x, [x.rank - 2, x.rank - 1])], params) as [Tensor, Tensor];
}
