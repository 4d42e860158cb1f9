/** Learning rates over a run. A schedule is a factor on the base rate, from the step (counted from 0) and the run's progress in [0, 1]. */
export type Schedule = (step: number, progress: number) => number;

/** Multiplies by `factor` every `every` steps. */
export function stepDecay(every: number, factor: number): Schedule {
  if (!(every >= 1)) throw new RangeError(`Expected a number >= 1 for every but received ${String(every)}`);
  return (step) => factor ** Math.floor(step / every);
}

/** Half a cosine from 1 to `floor`. */
export function cosine(floor = 0): Schedule {
  return (_step, progress) => floor + (1 - floor) * 0.5 * (1 + Math.cos(Math.PI * Math.min(1, progress)));
}

/** Rises linearly over the first `steps`, then follows another schedule. */
export function warmUp(steps: number, after: Schedule = () => 1): Schedule {
  return (step, progress) => (step < steps ? (step + 1) / steps : 1) * after(step, progress);
}

/** Multiplies by `factor` whenever the reported value has not improved by `threshold` (relative) for `patience` reports. */
export class Plateau {
  #best = Number.POSITIVE_INFINITY;
  #waited = 0;
  #scale = 1;

  constructor(private readonly options: { factor?: number; patience?: number; threshold?: number; floor?: number } = {}) {}

  /** Reports a value that should fall. Returns the new factor on the base rate. */
  report(value: number): number {
    const { factor = 0.1, patience = 10, threshold = 1e-4, floor = 0 } = this.options;
    if (value < this.#best - threshold * Math.abs(this.#best === Number.POSITIVE_INFINITY ? 0 : this.#best)) {
      this.#best = value;
      this.#waited = 0;
    } else if (++this.#waited > patience) {
      this.#scale = Math.max(floor, this.#scale * factor);
      this.#waited = 0;
    }
    return this.#scale;
  }

  readonly schedule: Schedule = () => this.#scale;
}
