/** Cartesian magnetic resonance imaging with several receiver coils. */
import {
  add,
  type Complex,
  cast,
  checkTensor,
  div,
  fft,
  flip,
  ifft,
  mul,
  narrow,
  type Operand,
  reshape,
  roll,
  stack,
  sub,
  sum,
} from '../ops/index.js';
import { formatShape, sameShape, type Tensor, tidy } from '../tensor/index.js';
import { checkSize } from './checks.js';
import { checkBinary } from './mask.js';
import { LinearOperator } from './operator.js';

export interface MriOptions {
  /** 1 where k-space is sampled, 0 elsewhere: [height, width]. */
  mask: Tensor;
  /** Where the mask has the zero frequency: 'centre' (default), at [floor(h / 2), floor(w / 2)] as masks are drawn, or 'corner', at [0, 0]. */
  zeroFrequency?: 'centre' | 'corner';
  /** Coil sensitivities [coils, height, width], complex. Default: one coil, 1 everywhere. */
  maps?: Complex;
  /** Whether images are complex, [..., 2, height, width] (real part, imaginary part), instead of real, [..., height, width]. Default false. */
  complex?: boolean;
}

/**
 * x → (M F C_k x)_k: coil sensitivities C_k, the unitary Fourier transform F, the sampling mask M. Measurements are
 * [..., coils, 2, height, width] (real and imaginary parts; the zero frequency at [0, 0]; 0 where nothing is sampled). For real images the
 * adjoint is the real part of Σ C̄_k Fᴴ M y_k, exact for the real inner product.
 * @param size height and width
 * @throws RangeError for a mask or maps of another size, or a mask that is not of zeros and ones
 */
export function mri(size: readonly [number, number], options: MriOptions): LinearOperator {
  checkSize(size);
  const { mask: given, zeroFrequency = 'centre', maps, complex = false } = options ?? {};
  checkTensor(given, 'mask');
  if (!sameShape(given.shape, size)) {
    throw new RangeError(`Expected a mask of the image's size ${formatShape(size)} but received ${formatShape(given.shape)}`);
  }
  checkBinary(given, 'mask');
  if (zeroFrequency !== 'centre' && zeroFrequency !== 'corner') {
    throw new TypeError(`Expected 'centre' or 'corner' for zeroFrequency but received ${String(zeroFrequency)}`);
  }
  const coils = maps === undefined ? 1 : checkMaps(maps, size);
  const half = size.map((n) => Math.floor(n / 2)) as [number, number];
  const mask = zeroFrequency === 'corner' ? given.own() : tidy(() => roll(roll(given, -half[0], 0), -half[1], 1));
  const kept = maps && { re: maps.re.own(), im: maps.im === null ? null : maps.im.own() };
  const parts = { input: complex ? [2, ...size] : [...size], output: [coils, 2, ...size] };

  const toComplex = (x: Tensor): Complex => (complex ? partsOf(x) : { re: x, im: null });
  const fromComplex = ({ re, im }: Complex): Tensor => (complex ? stack([re, im as Tensor], re.rank - 2) : re);
  const sampled = (x: Tensor): Tensor => mul(x, cast(mask, x.dtype));
  const axes = [-2, -1];

  return new LinearOperator({
    name: 'mri',
    inputShape: parts.input,
    outputShape: parts.output,
    apply: (x) => {
      const image = toComplex(x);
      const coil = (part: Tensor): Tensor => reshape(part, [...part.shape.slice(0, -2), 1, ...size]);
      const seen = { re: coil(image.re), im: image.im && coil(image.im) };
      const spectrum = fft(kept ? times(kept, seen, 1) : seen, { axes, norm: 'ortho' });
      return stack([sampled(spectrum.re), sampled(spectrum.im)], spectrum.re.rank - 2);
    },
    adjoint: (y) => {
      const spectrum = partsOf(y);
      const seen = ifft({ re: sampled(spectrum.re), im: sampled(spectrum.im) }, { axes, norm: 'ortho' });
      // A real image needs only the real part of C̄ s.
      const image = kept ? times(kept, seen, -1, !complex) : seen;
      const total = (part: Tensor): Tensor => sum(part, { axes: -3 });
      return fromComplex({ re: total(image.re), im: complex ? total(image.im as Tensor) : null });
    },
    // With one coil, AᵀA is diagonal in k-space; a real image has conjugate pairs, so that the mask and its mirror image share a sample.
    ...(kept === undefined && {
      resolvent: (v: Tensor, tau: Operand) => {
        const weights = cast(mask, v.dtype);
        const density = complex ? weights : mul(add(weights, roll(roll(flip(weights), 1, 0), 1, 1)), 0.5);
        const scale = add(mul(density, tau), 1);
        const spectrum = fft(toComplex(v), { axes, norm: 'ortho' });
        return fromComplex(ifft({ re: div(spectrum.re, scale), im: div(spectrum.im, scale) }, { axes, norm: 'ortho' }));
      },
    }),
    constants: [mask, ...(kept ? [kept.re, ...(kept.im === null ? [] : [kept.im])] : [])],
  });
}

/** Real and imaginary parts of [..., 2, height, width]. */
function partsOf(x: Tensor): { re: Tensor; im: Tensor } {
  const axis = x.rank - 3;
  const part = (i: number): Tensor => reshape(narrow(x, axis, i, i + 1), [...x.shape.slice(0, axis), ...x.shape.slice(-2)]);
  return { re: part(0), im: part(1) };
}

/** c z, or c̄ z with sign -1; `realOnly` leaves the imaginary part out. */
function times(c: Complex, z: Complex, sign: 1 | -1, realOnly = false): Complex {
  const a = cast(c.re, z.re.dtype);
  const b = c.im === null ? null : cast(c.im, z.re.dtype);
  const turn = (x: Tensor, y: Tensor | null, plus: boolean): Tensor => (y === null ? x : plus ? add(x, y) : sub(x, y));
  const re = turn(mul(a, z.re), b && z.im && mul(b, z.im), sign === -1);
  if (realOnly) return { re, im: null };
  const straight = z.im && mul(a, z.im);
  const crossed = b && mul(b, z.re);
  if (straight === null) return { re, im: crossed === null || sign === 1 ? crossed : mul(crossed, -1) };
  return { re, im: turn(straight, crossed, sign === 1) };
}

function checkMaps(maps: Complex, size: readonly [number, number]): number {
  checkTensor(maps.re, 'maps.re');
  if (maps.re.rank !== 3 || (maps.re.shape[0] as number) < 1 || !sameShape(maps.re.shape.slice(1), size)) {
    throw new RangeError(`Expected maps of shape [coils, ${size.join(', ')}] but received ${formatShape(maps.re.shape)}`);
  }
  if (maps.im !== null && !sameShape(checkTensor(maps.im, 'maps.im').shape, maps.re.shape)) {
    throw new RangeError(
      `Expected parts of equal shape for maps but received ${formatShape(maps.re.shape)} and ${formatShape(maps.im.shape)}`,
    );
  }
  return maps.re.shape[0] as number;
}
