/**
 * Discrete Fourier transforms of any size. Lines whose length has no prime factor above 13 go through a fast transform; others of up to
 * 1024 samples are one product with the DFT matrix, and longer ones are split as n = a b (Cooley and Tukey 1965).
 */
import { bind, definePrimitive, type Primitive } from '../autodiff/index.js';
import { device, kernels } from '../backend/index.js';
import {
  checkAxes,
  type DType,
  formatShape,
  linesAlong,
  outsideScopes,
  type Shape,
  sameShape,
  Tensor,
  tensor,
  tidy,
} from '../tensor/index.js';
import { reshape } from './broadcast.js';
import { checkFloat, code } from './common.js';
import { add, mul, sub } from './elementwise.js';
import { matmul } from './matmul.js';
import { transpose } from './movement.js';

/** A complex tensor as two real ones of equal shape and dtype. */
export interface Complex {
  re: Tensor;
  /** Null stands for zeros. */
  im: Tensor | null;
}

export interface FourierOptions {
  /** Axes to transform. Default: the last. */
  axes?: number | readonly number[];
  /** 'backward': 1 / n on the inverse (default); 'ortho': 1 / sqrt(n) both ways, which makes the transform unitary. */
  norm?: 'backward' | 'ortho';
}

const LONGEST_PRODUCT = 1024;
/** The native kernel's largest radix. */
const LARGEST_FACTOR = 13;

export interface FftParams {
  axis: number;
  /** Sign of the exponent. */
  direction: 1 | -1;
  scale: number;
}

/**
 * Inputs: re, and im unless it is zero. Outputs: re and im of scale F x. With F = C + i d S, the real map is [C, -d S; d S, C]: its
 * transpose is that of the other direction.
 */
export const fftPrimitive: Primitive<FftParams> = definePrimitive<FftParams>({
  name: 'fft',
  shape: ([x]) => [
    { dtype: x!.dtype, shape: x!.shape },
    { dtype: x!.dtype, shape: x!.shape },
  ],
  kernel: ([re, im], { axis, direction, scale }) => {
    const [a, b] = [Tensor.empty(re!.dtype, re!.shape), Tensor.empty(re!.dtype, re!.shape)];
    if (a.size > 0)
      kernels.fft(code(re!), linesAlong(re!.shape, axis), direction, scale, re!.address, im?.address ?? 0, a.address, b.address);
    return [a, b];
  },
  linear: {
    transpose: (cotangents, inputs, { axis, direction, scale }) => {
      const back = bind(fftPrimitive, cotangents, { axis, direction: direction === 1 ? -1 : 1, scale });
      return inputs.length > 1 ? back : [back[0] as Tensor];
    },
  },
});

/** Whether the fast transform takes lines of n samples. */
function isSmooth(n: number): boolean {
  let rest = n;
  for (let factor = 2; factor <= LARGEST_FACTOR; factor++) while (rest % factor === 0) rest /= factor;
  return rest === 1;
}

/** cos and sin of 2π j k / n for j < rows, k < columns; the product j k is reduced first, so that large ones stay exact. */
function angles(rows: number, columns: number, n: number, dtype: DType): { cos: Tensor; sin: Tensor } {
  const [cos, sin] = [new Float64Array(rows * columns), new Float64Array(rows * columns)];
  for (let j = 0; j < rows; j++) {
    for (let k = 0; k < columns; k++) {
      const angle = (2 * Math.PI * ((j * k) % n)) / n;
      cos[j * columns + k] = Math.cos(angle);
      sin[j * columns + k] = Math.sin(angle);
    }
  }
  const make = (values: Float64Array): Tensor => tensor(values, { shape: [rows, columns], dtype });
  return { cos: make(cos), sin: make(sin) };
}

/** Matrices of the last sizes used: an image transform needs two of them, again and again. */
const matrices = new Map<string, { cos: Tensor; sin: Tensor }>();

function dftMatrix(n: number, dtype: DType): { cos: Tensor; sin: Tensor } {
  const key = `${device()}:${n}:${dtype}`;
  const known = matrices.get(key);
  if (known) return known;
  if (matrices.size >= 8) {
    const [oldest, { cos, sin }] = matrices.entries().next().value as [string, { cos: Tensor; sin: Tensor }];
    matrices.delete(oldest);
    cos.dispose();
    sin.dispose();
  }
  const made = outsideScopes(() => angles(n, n, n, dtype));
  matrices.set(key, made);
  return made;
}

/** (re + i im)(cos + i sign sin), with `product` elementwise or of matrices. */
function rotate(
  { re, im }: Complex,
  { cos, sin }: { cos: Tensor; sin: Tensor },
  sign: 1 | -1,
  product: (a: Tensor, b: Tensor) => Tensor,
): { re: Tensor; im: Tensor } {
  const cross = (x: Tensor): Tensor => product(x, sin);
  const [straight, turned] = [product(re, cos), cross(re)];
  if (im === null) return { re: straight, im: sign === 1 ? turned : mul(turned, -1) };
  const [imStraight, imTurned] = [product(im, cos), cross(im)];
  return sign === 1
    ? { re: sub(straight, imTurned), im: add(imStraight, turned) }
    : { re: add(straight, imTurned), im: sub(imStraight, turned) };
}

const both = (z: Complex, f: (x: Tensor) => Tensor): Complex => ({ re: f(z.re), im: z.im === null ? null : f(z.im) });

/** The largest divisor of n that is at most its square root. */
function divisor(n: number): number {
  for (let a = Math.floor(Math.sqrt(n)); a > 1; a--) if (n % a === 0) return a;
  return 1;
}

/** Transforms the last axis of [rows, n]. */
function transformRows(z: Complex, n: number, sign: 1 | -1): Complex {
  const a = n > LONGEST_PRODUCT ? divisor(n) : 1;
  if (a === 1) return rotate(z, dftMatrix(n, z.re.dtype), sign, matmul);
  // x_j with j = j1 b + j2 gives X_k with k = k1 + a k2: over j1, a twiddle, over j2.
  const b = n / a;
  const rows = z.re.shape[0] as number;
  const columns = both(z, (x) => reshape(transpose(reshape(x, [rows, a, b]), [0, 2, 1]), [rows * b, a]));
  const first = transformRows(columns, a, sign);
  const twisted = rotate(
    both(first, (x) => reshape(x, [rows, b, a])),
    angles(b, a, n, z.re.dtype),
    sign,
    mul,
  );
  const second = transformRows(
    both(twisted, (x) => reshape(transpose(x, [0, 2, 1]), [rows * a, b])),
    b,
    sign,
  );
  return both(second, (x) => reshape(transpose(reshape(x, [rows, a, b]), [0, 2, 1]), [rows, n]));
}

function transform(z: Complex | Tensor, options: FourierOptions, sign: 1 | -1): { re: Tensor; im: Tensor } {
  return tidy(() => {
    const input: Complex = z instanceof Tensor ? { re: z, im: null } : z;
    checkFloat(input.re, 're');
    if (input.im !== null && (!sameShape(input.im.shape, input.re.shape) || input.im.dtype !== input.re.dtype)) {
      throw new RangeError(
        `Expected parts of equal shape and dtype but received ${input.re.dtype} ${formatShape(input.re.shape)} and ${input.im.dtype} ${formatShape(input.im.shape)}`,
      );
    }
    const { norm = 'backward' } = options;
    if (norm !== 'backward' && norm !== 'ortho')
      throw new TypeError(`Expected 'backward' or 'ortho' for norm but received ${String(norm)}`);
    const { shape, rank } = input.re;
    const axes = checkAxes(options.axes ?? -1, rank);
    let value = input;
    let count = 1;
    for (const axis of axes) {
      const n = shape[axis] as number;
      if (n === 0) throw new RangeError(`Expected at least one sample along axis ${axis} but received shape ${formatShape(shape)}`);
      count *= n;
      if (isSmooth(n)) {
        const [re, im] = bind(fftPrimitive, value.im === null ? [value.re] : [value.re, value.im], { axis, direction: sign, scale: 1 });
        value = { re: re as Tensor, im: im as Tensor };
        continue;
      }
      const order = [...shape.keys()].filter((i) => i !== axis).concat(axis);
      const back = order.map((_, i) => order.indexOf(i));
      const moved: Shape = order.map((i) => shape[i] as number);
      const rows = both(value, (x) => reshape(axis === rank - 1 ? x : transpose(x, order), [-1, n]));
      value = both(transformRows(rows, n, sign), (x) => (axis === rank - 1 ? reshape(x, shape) : transpose(reshape(x, moved), back)));
    }
    const scale = norm === 'ortho' ? 1 / Math.sqrt(count) : sign === 1 ? 1 / count : 1;
    const im = value.im as Tensor;
    return scale === 1 ? { re: value.re, im } : { re: mul(value.re, scale), im: mul(im, scale) };
  });
}

/** X_k = Σ_j x_j exp(-2πi j k / n) along each axis. A real tensor stands for a complex one without imaginary part. Differentiable. */
export function fft(z: Complex | Tensor, options: FourierOptions = {}): { re: Tensor; im: Tensor } {
  return transform(z, options, -1);
}

/** The inverse of `fft` with the same options; with norm 'ortho' also its adjoint. */
export function ifft(z: Complex | Tensor, options: FourierOptions = {}): { re: Tensor; im: Tensor } {
  return transform(z, options, 1);
}
