/** The best that a regulariser can do where the truth is known: the weight of highest PSNR. */
import { abs, max, mean, square, sub } from '../ops/index.js';
import { type Tensor, tidy } from '../tensor/index.js';
import { checkTrailing, type LinearOperator } from './operator.js';
import { type TvReconstructOptions, tvNorm, tvReconstruct } from './tv-reconstruct.js';

export interface Tuning {
  /** The best weight. */
  lambda: number;
  /** Of values in [0, 1]: 10 log10 (1 / mean squared error). */
  psnr: number;
  x: Tensor;
  /** What was tried, from the smallest lambda to the largest. */
  tried: { lambda: number; psnr: number }[];
}

/** Exponents of 3 between neighbouring lambdas: coarse, then finer around the best. */
const STEPS = [1, 1 / 2, 1 / 4];
/** Walks no farther than 3^12 from where it starts. */
const MAX_STEPS = 12;

export interface Trial {
  lambda: number;
  /** The best image so far: neighbouring lambdas have neighbouring solutions. */
  start?: Tensor;
  /** Whether this one is for good: while searching, less care will do. */
  final: boolean;
}

/**
 * The lambda for which a reconstruction comes closest to the truth, by climbing in factors of 3 and refining to a factor of 1.32, and the
 * reconstruction with it. It serves every regulariser alike, so that their best results compare.
 * @param reconstruct the reconstruction for a lambda: a tensor of its own in the shape of `truth`
 * @param first where to start, > 0
 */
export function bestLambda(reconstruct: (trial: Trial) => Tensor, truth: Tensor, first: number): Tuning {
  if (!(first > 0 && first < Number.POSITIVE_INFINITY))
    throw new RangeError(`Expected a number > 0 for lambda but received ${String(first)}`);
  return tidy(() => {
    const quality = (x: Tensor): number => tidy(() => -10 * Math.log10(mean(square(sub(x, truth))).item()));
    const known = new Map<number, number>();
    let best: { lambda: number; psnr: number; x: Tensor } | undefined;
    /** Lambdas are first · 3^exponent; exponents are multiples of 1/4. */
    const at = (exponent: number): number => {
      const seen = known.get(exponent);
      if (seen !== undefined) return seen;
      const lambda = first * 3 ** exponent;
      const x = reconstruct({ lambda, final: false, ...(best && { start: best.x }) });
      const psnr = quality(x);
      known.set(exponent, psnr);
      if (best === undefined || psnr > best.psnr) {
        best?.x.dispose();
        best = { lambda, psnr, x };
      } else {
        x.dispose();
      }
      return psnr;
    };
    let top = 0;
    at(0);
    for (const step of STEPS) {
      for (const direction of [1, -1]) {
        while (Math.abs(top + direction * step) <= MAX_STEPS && at(top + direction * step) > at(top)) top += direction * step;
      }
    }
    const { lambda, x: near } = best as { lambda: number; x: Tensor };
    const x = reconstruct({ lambda, final: true, start: near });
    const tried = [...known].map(([exponent, psnr]) => ({ lambda: first * 3 ** exponent, psnr })).sort((a, b) => a.lambda - b.lambda);
    return { lambda, psnr: quality(x), x, tried };
  });
}

/**
 * The lambda for which `tvReconstruct` comes closest to the truth, with the reconstruction (`bestLambda`). A fair baseline: no method that
 * is tuned on other pictures can accuse it of a bad choice.
 * @param truth [..., inputShape]
 * @param options those of `tvReconstruct`, and `lambda`: where to start (default 1e-3 max |Aᵀz|)
 */
export function bestTvLambda(
  operator: LinearOperator,
  z: Tensor,
  truth: Tensor,
  options: TvReconstructOptions & { lambda?: number } = {},
): Tuning {
  checkTrailing(z, operator.outputShape, 'z', operator.name);
  checkTrailing(truth, operator.inputShape, 'truth', operator.name);
  const { lambda: first = tidy(() => 1e-3 * max(abs(operator.adjoint(z))).item()), iterations = 300, ...rest } = options;
  const settings = { ...rest, norm: rest.norm ?? tvNorm(operator) };
  const solve = ({ lambda, start, final }: Trial): Tensor =>
    tvReconstruct(operator, z, lambda, { ...settings, iterations: final ? iterations : Math.ceil(iterations / 3), ...(start && { start }) })
      .x;
  return bestLambda(solve, truth, first);
}
