/** The time at which the total-variation flow has become constant. */
import { cast, checkFloat, mean, mul, reshape, square, sub } from '../ops/index.js';
import { formatShape, type Tensor, tensor, tidy } from '../tensor/index.js';
import { checkBoolean, checkChoice } from './flow-options.js';
import { checkPlain, type Geometry, imageSums, imagesOf, variation } from './flow-solvers.js';
import { lambdaMax } from './measure.js';
import { checkTolerance, solve2d } from './prox2d.js';
import { solveRof } from './rof.js';

export interface ExtinctionOptions {
  /** Relative accuracy. Default 1e-3. */
  tolerance?: number;
  /** As in `flow`. */
  isotropic?: boolean;
  channels?: 'independent' | 'coupled';
}

/** The solver's gap as a share of the accuracy: the time hardly depends on it (1e-5 of it between gaps of 1e-5 and 1e-7). */
const GAP = 1e-2;
/** A march ends when the rest is at most this share of the accuracy. */
const REST = 0.1;
const MOST_STEPS = 100_000;
const FINEST = 1e-4;

/**
 * The extinction time of each image's flow, u(t) = mean(f) from then on.
 *
 * A single implicit step from u ends at the mean exactly where the dual norm max <u - mean, w> / J(w) is at most its λ, so that the dual norm of f
 * is the extinction time of one step (`lambdaMax`) and a lower bound on that of the flow; on a line the two are the same, and that is what
 * is computed for images of one row or column. Otherwise the flow is followed without its mean: R = |u|² / J(u) is a lower bound on the rest of
 * its life, t + R only grows along implicit steps (by the Cauchy-Schwarz inequality), and is the extinction time as soon as u shrinks without
 * changing its shape. Steps are shares of R, shorter where t + R grows, and are refined until two marches agree within the tolerance; the result
 * is extrapolated from these two.
 * @param f [..., height, width], or [n] for one line; float32 or float64
 * @returns a tensor of the leading axes (without the channels where these are coupled): 0 for a constant image, NaN for one that is not finite
 */
export function extinctionTime(f: Tensor, options: ExtinctionOptions = {}): Tensor {
  checkFloat(f, 'f');
  checkPlain(f, 'extinctionTime');
  const coupled = checkChoice(options.channels ?? 'independent', ['independent', 'coupled'], 'channels') === 'coupled';
  const isotropic = checkBoolean(options.isotropic ?? true, 'isotropic');
  if (coupled && !isotropic) throw new TypeError("Expected isotropic variation with channels 'coupled' but received isotropic: false");
  const tolerance = checkTolerance(options.tolerance ?? 1e-3);
  const least = coupled ? 3 : f.rank === 1 ? 1 : 2;
  if (f.rank < least || f.size === 0)
    throw new RangeError(`Expected at least one pixel and ${least} axes for f but received shape ${formatShape(f.shape)}`);
  return tidy(() => {
    const [height, width] = f.rank === 1 ? [1, f.size] : (f.shape.slice(-2) as [number, number]);
    if (!coupled && (height === 1 || width === 1)) {
      const line = reshape(cast(f, 'float64'), [...f.shape.slice(0, -2), height * width]);
      return cast(lambdaMax(line, { dims: 1 }), f.dtype);
    }
    const image = cast(f, 'float64');
    const centred = sub(image, mean(image, { axes: [-2, -1], keepDims: true }));
    const geometry = { isotropic, coupled };
    // What a march leaves to the next one halves about with delta.
    let delta = Math.min(0.1, 80 * tolerance);
    let coarse = tidy(() => followed(centred, geometry, delta, tolerance));
    for (;;) {
      delta /= 2;
      const fine = tidy(() => followed(centred, geometry, delta, tolerance));
      const settled = fine.every((time, i) => !(Math.abs(time - (coarse[i] as number)) > tolerance * time));
      if (settled || delta < FINEST) {
        const times = fine.map((time, i) => 2 * time - (coarse[i] as number));
        return tensor(times, { shape: f.shape.slice(0, coupled ? -3 : -2), dtype: f.dtype });
      }
      coarse = fine;
    }
  });
}

/** t + R at the end of one march. A step lets t + R grow by about delta / 10 of itself at most. */
function followed(f: Tensor, geometry: Geometry, delta: number, tolerance: number): Float64Array {
  const images = imagesOf(f, geometry);
  const lead = f.shape.slice(0, geometry.coupled ? -3 : -2);
  const options = { tolerance: GAP * tolerance, maxIterations: 100_000 };
  let u = f.own();
  let dual: Tensor | undefined;
  let last = new Float64Array(images);
  const time = new Float64Array(images);
  const rest = remaining(u, geometry);
  const share = new Float64Array(images).fill(delta);
  for (let k = 0; k < MOST_STEPS; k++) {
    const lambda = rest.map((r, i) => (r > REST * tolerance * ((time[i] as number) + r) ? r * (share[i] as number) : 0));
    if (lambda.every((value) => value === 0)) break;
    const next = tidy(() => {
      const bound = tensor(lambda, { shape: lead });
      const scale = lambda.map((value, i) => ((last[i] as number) > 0 ? value / (last[i] as number) : 0));
      const init = dual && mul(dual, tensor(scale, { shape: [...lead, ...new Array<number>(dual.rank - lead.length).fill(1)] }));
      const start = init === undefined ? {} : { init };
      const { y, dual: end } = geometry.isotropic
        ? solveRof(u, bound, { ...options, ...start, channels: geometry.coupled ? 'coupled' : 'independent' })
        : solve2d(u, bound, { ...options, ...start });
      return { y, end };
    });
    u.dispose();
    dual?.dispose();
    u = next.y;
    dual = next.end;
    last = lambda;
    const after = remaining(u, geometry);
    lambda.forEach((value, i) => {
      if (value === 0) return;
      const [before, now] = [rest[i] as number, after[i] as number];
      const growth = (value + now - before) / ((time[i] as number) + before);
      const factor = Math.sqrt(delta / 10 / Math.max(growth, 1e-12));
      share[i] = Math.min(0.9, Math.max(delta / 10, (share[i] as number) * Math.min(2, Math.max(0.5, factor))));
      time[i] = (time[i] as number) + value;
      rest[i] = now;
    });
  }
  return time.map((t, i) => t + (rest[i] as number));
}

/** |u|² / J(u), 0 where u = 0. */
function remaining(u: Tensor, geometry: Geometry): Float64Array {
  const squares = tidy(() => imageSums(square(u), u, geometry));
  return variation(u, geometry).map((energy, i) => (squares[i] === 0 ? 0 : (squares[i] as number) / energy));
}
