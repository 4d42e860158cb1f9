/** Spectral total variation (Gilboa 2014): an image as a sum of bands of its flow. */
import { abs, add, cast, mul, narrow, reshape, sqrt, sub, sum } from '../ops/index.js';
import { type Tensor, tensor, tidy } from '../tensor/index.js';
import { extinctionTime } from './extinction.js';
import { flow } from './flow.js';
import { CONVENTIONS, checkChoice, checkPositive, type FlowOptions } from './flow-options.js';

export interface SpectralOptions extends Omit<FlowOptions, 'times' | 'endTime' | 'step' | 'dual' | 'onStep'> {
  /** The time of the last band. Default: the largest extinction time of the batch, by which every image is its mean. */
  endTime?: number;
  /** Length of a band: endTime / step of them. Give it or `bands`. */
  step?: number;
  /** Number of bands. Default 50. */
  bands?: number;
}

/** A weight for each band: a function of its time, or one number per band. */
export type BandFilter = ((time: number) => number) | ArrayLike<number>;

export interface FilterOptions {
  /** Weight of the residual. Default: that of the last band. */
  residual?: number;
}

const DEFAULT_BANDS = 50;

/**
 * The bands φ_i = t_i (u_{i-1} + u_{i+1} - 2 u_i) / dt² at t_i = i dt, i = 1 … K, of a flow u, and its residual f_r = (K + 1) u_K - K u_{K+1}.
 * f = f_r + dt Σ φ_i whatever u is. An isolated structure of the plane, a disc of radius r and height c, lies in the band of its extinction time
 * c r / 2: small and faint structures come first.
 */
export class Spectrum {
  /** The time of each band. */
  readonly times: Float64Array;
  readonly step: number;
  /** φ: [bands, ...f's shape]. */
  readonly bands: Tensor;
  /** What is left after the last band, of f's shape: the mean, where the flow ended there. */
  readonly residual: Tensor;
  /** S(t) = Σ |φ(t)| over the pixels: [bands, ...f's leading axes], float64. */
  readonly amplitudes: Tensor;
  /** S₂(t) = sqrt(max(<φ(t), f>, 0)); <φ(t), f> dt sums to |f|² - <f_r, f>. [bands, ...f's leading axes], float64. */
  readonly energies: Tensor;

  /** @internal u: [bands + 2, ...] at multiples of step */
  constructor(u: Tensor, step: number, imageAxes: number) {
    const count = (u.shape[0] as number) - 2;
    this.step = step;
    this.times = Float64Array.from({ length: count }, (_, i) => (i + 1) * step);
    const f = narrow(u, 0, 0, 1);
    const at = (k: number): Tensor => reshape(narrow(u, 0, k, k + 1), u.shape.slice(1));
    const weights = tensor(
      this.times.map((t) => t / (step * step)),
      { shape: [count, ...u.shape.slice(1).map(() => 1)], dtype: u.dtype },
    );
    const [before, here, after] = [narrow(u, 0, 0, count), narrow(u, 0, 1, count + 1), narrow(u, 0, 2, count + 2)];
    // Two differences: exactly 0 once the flow has ended, and less rounding than u_{i-1} + u_{i+1} - 2 u_i.
    this.bands = mul(sub(sub(before, here), sub(here, after)), weights);
    this.residual = add(at(count), mul(sub(at(count), at(count + 1)), count));
    const axes = Array.from({ length: imageAxes }, (_, k) => k - imageAxes);
    const bands = cast(this.bands, 'float64');
    this.amplitudes = sum(abs(bands), { axes });
    const products = sum(mul(bands, cast(f, 'float64')), { axes });
    this.energies = sqrt(mul(add(products, abs(products)), 0.5));
  }

  /** f: the residual and all bands. */
  reconstruct(): Tensor {
    return this.filter(() => 1);
  }

  /** Σ H(t) φ(t) dt + H̄ f_r: each band with its weight. */
  filter(weights: BandFilter, options: FilterOptions = {}): Tensor {
    const values = typeof weights === 'function' ? this.times.map(weights) : Float64Array.from(weights ?? []);
    if (values.length !== this.times.length || !values.every(Number.isFinite))
      throw new RangeError(`Expected ${this.times.length} finite weights for the bands but received ${describe(values)}`);
    const rest = options.residual ?? (values.at(-1) as number);
    if (!Number.isFinite(rest)) throw new RangeError(`Expected a finite number for residual but received ${String(rest)}`);
    return tidy(() => {
      const shape = [values.length, ...this.residual.shape.map(() => 1)];
      const scaled = tensor(
        values.map((value) => value * this.step),
        { shape, dtype: this.residual.dtype },
      );
      return add(sum(mul(this.bands, scaled), { axes: [0] }), mul(this.residual, rest));
    });
  }

  /** The structures that outlive `time`, with the residual. */
  low(time: number): Tensor {
    const gone = this.#by(time, 'time');
    return this.filter((t) => (gone(t) ? 0 : 1), { residual: 1 });
  }

  /** The structures gone by `time`: f - low(time). */
  high(time: number): Tensor {
    const gone = this.#by(time, 'time');
    return this.filter((t) => (gone(t) ? 1 : 0), { residual: 0 });
  }

  /** The bands of times in (from, to], without the residual: high(to) - high(from). */
  band(from: number, to: number): Tensor {
    const [before, until] = [this.#by(from, 'from'), this.#by(to, 'to')];
    if (!(to > from)) throw new RangeError(`Expected a time after ${from} for to but received ${String(to)}`);
    return this.filter((t) => (until(t) && !before(t) ? 1 : 0), { residual: 0 });
  }

  /** Whether a band lies at or before a limit, which k · step may miss by rounding. */
  #by(limit: number, name: string): (time: number) => boolean {
    if (!(limit >= 0)) throw new RangeError(`Expected a number >= 0 for ${name} but received ${String(limit)}`);
    return (time) => time <= limit + 1e-6 * this.step;
  }

  dispose(): void {
    for (const value of [this.bands, this.residual, this.amplitudes, this.energies]) value.dispose();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
  /** `tidy` keeps the tensors of a spectrum that it returns. */
  heldValues(): readonly unknown[] {
    return [this.bands, this.residual, this.amplitudes, this.energies];
  }
}

const describe = (values: Float64Array): string => {
  const bad = values.find((value) => !Number.isFinite(value));
  return bad === undefined ? `${values.length}` : `${bad} among them`;
};

/**
 * The spectral decomposition of each image by its total-variation flow (Gilboa, "A total variation spectral framework for scale and texture
 * analysis", SIAM J. Imaging Sciences 7(4), 2014). One implicit step per band unless `accuracy` asks for more.
 * @param f [..., height, width], or [n] for one line; float32 or float64. Rounding grows as the number of bands: float64 for many.
 * @throws RangeError or TypeError for options out of range or at odds with each other
 * Not differentiable.
 */
export function spectral(f: Tensor, options: SpectralOptions = {}): Spectrum {
  const { endTime, step, bands, ...own } = options;
  if (step !== undefined && bands !== undefined) throw new TypeError('Expected either step or bands but received both');
  if (bands !== undefined && !(Number.isInteger(bands) && bands >= 1))
    throw new RangeError(`Expected an integer >= 1 for bands but received ${String(bands)}`);
  if (endTime !== undefined) checkPositive(endTime, 'endTime');
  if (step !== undefined) checkPositive(step, 'step');
  const coupled = checkChoice(own.channels ?? 'independent', ['independent', 'coupled'], 'channels') === 'coupled';
  return tidy(() => {
    const end = endTime ?? lastExtinction(f, options);
    const length = step ?? end / (bands ?? DEFAULT_BANDS);
    const count = bands ?? Math.floor(end / length + 1e-9);
    if (count < 1) throw new RangeError(`Expected a step of at most ${end} but received ${length}`);
    const times = Array.from({ length: count + 2 }, (_, k) => k * length);
    const { u } = flow(f, { ...own, times, ...(own.accuracy === undefined && { step: length * (1 + 1e-9) }) });
    return new Spectrum(u, length, Math.min(f.rank, coupled ? 3 : 2));
  });
}

/** The largest extinction time of the batch in the flow's time convention; 1 where all images are constant. */
function lastExtinction(f: Tensor, { isotropic, channels, timeConvention }: SpectralOptions): number {
  const time = extinctionTime(f, { ...(isotropic !== undefined && { isotropic }), ...(channels !== undefined && { channels }) });
  const largest = Math.max(0, ...Array.from(time.toTypedArray()).filter(Number.isFinite));
  return largest > 0 ? (largest * 1.01) / CONVENTIONS[timeConvention ?? 'pde'] : 1;
}
