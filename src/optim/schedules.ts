/** Learning rates over a run. A schedule is a factor on the base rate, from the step (counted from 0) and the run's progress in [0, 1]. */
export type Schedule = (step: number, progress: number) => number;

/** Multiplies by `factor` every `every` steps. */
export function stepDecay(every: number, factor: number): Schedule {
  if (!(factor > 0 && factor <= 1)) throw new RangeError(`Expected a number in (0, 1] for factor but received ${String(factor)}`);
  if (!(every >= 1)) throw new RangeError(`Expected a number >= 1 for every but received ${String(every)}`);
  return (step) => factor ** Math.floor(step / every);
}

/** Half a cosine from 1 to `floor`. */
export function cosine(floor = 0): Schedule {
  if (!(floor >= 0 && floor <= 1)) throw new RangeError(`Expected a number in [0, 1] for floor but received ${String(floor)}`);
  return (_step, progress) => floor + (1 - floor) * 0.5 * (1 + Math.cos(Math.PI * Math.min(1, progress)));
}

/** Rises linearly over the first `steps`, then follows another schedule. */
export function warmUp(steps: number, after: Schedule = () => 1): Schedule {
  if (!Number.isInteger(steps) || steps < 0) throw new RangeError(`Expected an integer >= 0 for steps but received ${String(steps)}`);
  return (step, progress) => (step < steps ? (step + 1) / steps : 1) * after(step, progress);
}

export interface PlateauOptions {
  /** What the rate is multiplied by, in (0, 1). Default 0.1. */
  factor?: number;
  /** Reports without improvement that are borne; the next one lowers the rate. Default 10. */
  patience?: number;
  /** What counts as an improvement, relative to the best value. Default 1e-4. */
  threshold?: number;
  /** The factor on the base rate never falls below this. Default 0. */
  floor?: number;
}

/** Everything a `Plateau` needs to go on. */
export type PlateauState = { best: number | null; waited: number; scale: number };

/** Multiplies by `factor` whenever the reported value has not improved by `threshold` (relative) for `patience` reports. */
export class Plateau {
  /** Where it stands; may be kept and set again. */
  state: PlateauState = { best: null, waited: 0, scale: 1 };
  readonly #options: Required<PlateauOptions>;

  constructor({ factor = 0.1, patience = 10, threshold = 1e-4, floor = 0 }: PlateauOptions = {}) {
    if (!(factor > 0 && factor < 1)) throw new RangeError(`Expected a number in (0, 1) for factor but received ${String(factor)}`);
    if (!Number.isInteger(patience) || patience < 0)
      throw new RangeError(`Expected an integer >= 0 for patience but received ${String(patience)}`);
    if (!(threshold >= 0 && threshold < 1))
      throw new RangeError(`Expected a number in [0, 1) for threshold but received ${String(threshold)}`);
    if (!(floor >= 0 && floor <= 1)) throw new RangeError(`Expected a number in [0, 1] for floor but received ${String(floor)}`);
    this.#options = { factor, patience, threshold, floor };
  }

  /** Reports a value that should fall. Returns the new factor on the base rate. */
  report(value: number): number {
    const { factor, patience, threshold, floor } = this.#options;
    const { best, waited, scale } = this.state;
    if (Number.isFinite(value) && (best === null || value < best - threshold * Math.abs(best))) {
      this.state = { best: value, waited: 0, scale };
    } else if (waited + 1 > patience) {
      this.state = { best, waited: 0, scale: Math.max(floor, scale * factor) };
    } else {
      this.state = { best, waited: waited + 1, scale };
    }
    return this.state.scale;
  }

  readonly schedule: Schedule = () => this.state.scale;
}
