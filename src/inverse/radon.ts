/** Computed tomography with parallel beams: the projection operator and filtered back-projection. */
import { bind1 } from '../autodiff/index.js';
import { concat, fft, ifft, mul, narrow, radonAdjointPrimitive, radonPrimitive } from '../ops/index.js';
import { type Tensor, tensor, tidy, zeros } from '../tensor/index.js';
import { checkSize } from './checks.js';
import { checkTrailing, LinearOperator } from './operator.js';

export interface RadonOptions {
  /** A number of angles, equally spaced in [0, π), or the angles themselves in radians. */
  angles: number | readonly number[];
  /** Detectors of a view, centred. Default: as many as cover the image's diagonal. */
  detectors?: number;
  /** Distance of neighbouring detectors in pixels. Default 1. */
  spacing?: number;
}

/** A Radon transform knows its geometry: filtered back-projection asks for it. */
export class RadonOperator extends LinearOperator {
  /** In radians. */
  readonly angles: readonly number[];
  readonly detectors: number;
  readonly spacing: number;

  /** @internal */
  constructor(size: readonly [number, number], angles: readonly number[], detectors: number, spacing: number) {
    const [height, width] = size;
    const geometry = { height, width, detectors, spacing };
    const directions = tensor(Float64Array.from(angles));
    super({
      name: 'radon',
      inputShape: [height, width],
      outputShape: [angles.length, detectors],
      apply: (x) => bind1(radonPrimitive, [x, directions], geometry),
      adjoint: (y) => bind1(radonAdjointPrimitive, [y, directions], geometry),
      constants: [directions],
    });
    this.angles = angles;
    this.detectors = detectors;
    this.spacing = spacing;
  }
}

/**
 * Integrals along parallel rays: [..., height, width] → [..., views, detectors], pixels being unit squares. The view at angle a has the
 * detector coordinate x cos a + y sin a (x to the right, y up, from the image's centre). Linear interpolation along the image's lines
 * (Joseph 1982); the adjoint is exact.
 * @param size height and width of the image
 * @throws RangeError for an empty size, no angles, or angles, detectors or a spacing out of range
 */
export function radon(size: readonly [number, number], options: RadonOptions): RadonOperator {
  checkSize(size);
  const { angles: given, spacing = 1 } = options ?? {};
  let angles: readonly number[];
  if (typeof given === 'number') {
    if (!Number.isInteger(given) || given < 1) throw new RangeError(`Expected an integer >= 1 for angles but received ${given}`);
    angles = Array.from({ length: given }, (_, i) => (i * Math.PI) / given);
  } else {
    if (!Array.isArray(given) || given.length === 0 || !given.every(Number.isFinite)) {
      throw new RangeError(
        `Expected a number of angles, or finite angles in radians, for angles but received ${JSON.stringify(given) ?? 'undefined'}`,
      );
    }
    angles = [...given];
  }
  if (!(spacing > 0 && spacing < Number.POSITIVE_INFINITY))
    throw new RangeError(`Expected a number > 0 for spacing but received ${String(spacing)}`);
  const detectors = options.detectors ?? Math.ceil(Math.hypot(size[0], size[1]) / spacing);
  if (!Number.isInteger(detectors) || detectors < 1) {
    throw new RangeError(`Expected an integer >= 1 for detectors but received ${String(detectors)}`);
  }
  return new RadonOperator(size, angles, detectors, spacing);
}

/** Windows over the ramp |f|: none (Ramachandran and Lakshminarayanan 1971), or the raised cosine, which passes less noise. */
export type FbpFilter = 'ram-lak' | 'hann';

/** The ramp's samples in space (Kak and Slaney 1988, eq. (61) of chapter 3) transformed: sampling |f| itself would lose the mean. */
function ramp(length: number, filter: FbpFilter): Tensor {
  const samples = new Float64Array(length);
  samples[0] = 0.25;
  for (let k = 1; 2 * k <= length; k += 2) {
    samples[k] = -1 / (Math.PI * k) ** 2;
    samples[length - k] = samples[k] as number;
  }
  const response = Float64Array.from(fft(tensor(samples)).re.toTypedArray());
  if (filter === 'hann') for (let k = 0; k < length; k++) response[k]! *= 0.5 * (1 + Math.cos((2 * Math.PI * k) / length));
  return tensor(response);
}

/**
 * Filtered back-projection of y [..., views, detectors]: the inverse of `operator` for many views in [0, π). Linear and differentiable.
 * @param options filter: 'ram-lak' (default) or 'hann'
 */
export function filteredBackProjection(operator: RadonOperator, y: Tensor, options: { filter?: FbpFilter } = {}): Tensor {
  const { filter = 'ram-lak' } = options;
  if (!(operator instanceof RadonOperator)) throw new TypeError('Expected the operator of radon for operator but received another');
  if (filter !== 'ram-lak' && filter !== 'hann')
    throw new TypeError(`Expected 'ram-lak' or 'hann' for filter but received ${String(filter)}`);
  checkTrailing(y, operator.outputShape, 'y', 'filtered back-projection');
  return tidy(() => {
    const n = operator.detectors;
    // Zeros on one side keep the circular convolution from wrapping around; lengths of 64 k suit the matrix kernels.
    const length = Math.ceil((2 * n) / 64) * 64;
    const padded = concat([y, zeros([...y.shape.slice(0, -1), length - n], y.dtype)], -1);
    const spectrum = fft(padded);
    const response = ramp(length, filter);
    const filtered = ifft({ re: mul(spectrum.re, response), im: mul(spectrum.im, response) }).re;
    // The ramp is in units of 1 / spacing², the integral over detectors in units of the spacing, and the adjoint adds up 1 / spacing
    // of each view: the units cancel.
    return mul(operator.adjoint(narrow(filtered, -1, 0, n)), Math.PI / operator.angles.length);
  });
}
