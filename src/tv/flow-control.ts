/** Chooses the steps of the total-variation flow so that a certified error bound holds at every time. */

/** Factors between one step and the next that are tried, the largest first. */
const FACTORS = [3, 2, 1.5, 1.25, 1, 0.8, 0.6, 0.4, 0.25];
const SHRINKS = [0.8, 0.6, 0.4, 0.25];
/** A step no longer than this share of the whole time is taken as it is. */
const SHORTEST = 1e-6;
/**
 * Share of a step's budget that the solver's gap may use. A larger one takes more steps of fewer iterations each: 500² to a time of half the range,
 * iterations in thousands: 0.1 17.0, 0.2 13.4, 0.4 10.6, 0.6 9.3, 0.8 8.5 (a relative gap of 1e-6 throughout: 45); at 96² 0.4 is fastest or nearly so.
 */
const GAP_SHARE = 0.4;

/**
 * The square of the bound is a sum over steps (flow-march.ts). A step of length τ adds about τ³ times the rate at which |div φ|² falls, so
 * that for a given sum the number of steps is least when each adds the same. That rate falls about as t^(-3/2) on natural images: steps then grow
 * as sqrt(t), and so does the sum, which is what `share` allows.
 */
export class StepControl {
  readonly #end: number;
  /** Of the bound's square, per image; 0 for an image that does not count (a constant one). */
  readonly #budget: Float64Array;
  #proposal: number;

  constructor(end: number, accuracy: Float64Array, pixels: number) {
    this.#end = end;
    this.#budget = accuracy.map((rms) => (rms > 0 && rms < Number.POSITIVE_INFINITY ? rms * rms * pixels : 0));
    this.#proposal = end / 100;
  }

  /** The share of the budget that may be spent up to a time. */
  #share(time: number): number {
    return Math.sqrt(Math.min(1, time / this.#end));
  }

  /** Into how many steps the rest up to the next time asked for is cut. */
  pieces(rest: number): number {
    return Math.max(1, Math.ceil(rest / this.#proposal - 1e-9));
  }

  /** Relative gap at which the solver leaves its share of the budget of a step, given an upper bound λ J on the objective. */
  tolerance(time: number, step: number, energy: Float64Array, lambda: number): number {
    const share = this.#share(time + step) - this.#share(time);
    return this.#budget.reduce((least, budget, i) => {
      const objective = lambda * (energy[i] as number);
      return budget > 0 && objective > 0 ? Math.min(least, (0.5 * GAP_SHARE * share * budget) / objective) : least;
    }, 1);
  }

  /**
   * Whether a step keeps to the budget, given the sums before and after it and its gaps; proposes the next one either way. A step whose error is
   * the solver's, or that cannot be shorter, is taken as it is: the bound then says what was reached.
   */
  accept(time: number, step: number, before: Float64Array, after: Float64Array, gap: Float64Array): boolean {
    const fits = (sums: Float64Array, factor: number, at: number, margin: number): boolean =>
      this.#budget.every((budget, i) => {
        const added = (after[i] as number) - (before[i] as number);
        return !(budget > 0) || !((sums[i] as number) + margin * factor ** 3 * added > budget * this.#share(at));
      });
    const within = fits(before, 1, time + step, 1);
    const stuck =
      step <= SHORTEST * this.#end ||
      this.#budget.every((budget, i) => {
        const added = (after[i] as number) - (before[i] as number);
        return !(budget > 0) || !((after[i] as number) > budget * this.#share(time + step)) || 2 * (gap[i] as number) > 0.5 * added;
      });
    if (!within && !stuck) {
      this.#proposal = step * (SHRINKS.find((r) => fits(before, r, time + r * step, 1.1)) ?? 0.1);
      return false;
    }
    const grown = FACTORS.find((r) => fits(after, r, time + step + r * step, 1.25));
    this.#proposal = Math.max(step * (grown ?? 0.25), SHORTEST * this.#end);
    return true;
  }
}
