/**
 * Convolutions. <y, conv(x, w)> is a trilinear form of (x, w, y); its three partial adjoints are the three primitives below, and each
 * one's transposes are the other two, so that derivatives of any order stay on the dedicated kernels.
 */
import { type Aval, bind1, definePrimitive, type Primitive } from '../autodiff/index.js';
import { kernels } from '../backend/index.js';
import { formatShape, type Shape, Tensor, tidy } from '../tensor/index.js';
import { reshape } from './broadcast.js';
import { checkFloat, code, withFactors } from './common.js';

/** Everything but the three arrays: the shapes of all three are part of it. */
export interface ConvGeometry {
  readonly x: Shape; // [n, c_in, h, w]
  readonly w: Shape; // [c_out, c_in / groups, kh, kw]
  readonly y: Shape; // [n, c_out, out_h, out_w]
  readonly stride: readonly [number, number];
  /** Zeros before the first row and column (negative: cropped); those after the last follow from y. */
  readonly padLow: readonly [number, number];
  readonly dilation: readonly [number, number];
  readonly groups: number;
}

export function nativeParams(g: ConvGeometry): kernels.ConvParams {
  const [n, cIn, h, w] = g.x as [number, number, number, number];
  const [cOut, , kh, kw] = g.w as [number, number, number, number];
  return {
    n,
    cIn,
    h,
    w,
    cOut,
    kh,
    kw,
    outH: g.y[2] as number,
    outW: g.y[3] as number,
    strideH: g.stride[0],
    strideW: g.stride[1],
    padH: g.padLow[0],
    padW: g.padLow[1],
    dilationH: g.dilation[0],
    dilationW: g.dilation[1],
    groups: g.groups,
  };
}

type Part = 'x' | 'w' | 'y';

function part(name: string, output: Part, inputs: readonly [Part, Part], run: typeof kernels.convForward): Primitive<ConvGeometry> {
  return definePrimitive<ConvGeometry>({
    name,
    shape: ([a], g) => [{ dtype: a!.dtype, shape: g[output] }],
    kernel: ([a, b], g) => {
      const result = Tensor.empty(a!.dtype, g[output]);
      if (result.size > 0) withFactors([a!, b!], (p, q) => run(code(a!), nativeParams(g), p!, q!, result.address));
      return [result];
    },
    linear: {
      multilinear: true,
      transpose: ([ct], [a, b], g, isLinear) => {
        const values = { [output]: ct!, [inputs[0]]: a!, [inputs[1]]: b! } as Record<Part, Tensor>;
        return inputs.map((wanted, i) => (isLinear(i) ? adjoint(wanted, values, g) : null));
      },
    },
  });
}

export const convForwardPrimitive: Primitive<ConvGeometry> = part('convForward', 'y', ['x', 'w'], kernels.convForward);
export const convDataPrimitive: Primitive<ConvGeometry> = part('convData', 'x', ['y', 'w'], kernels.convData);
export const convWeightsPrimitive: Primitive<ConvGeometry> = part('convWeights', 'w', ['x', 'y'], kernels.convWeights);

function adjoint(wanted: Part, { x, w, y }: Record<Part, Tensor>, g: ConvGeometry): Tensor {
  if (wanted === 'x') return bind1(convDataPrimitive, [y, w], g);
  if (wanted === 'w') return bind1(convWeightsPrimitive, [x, y], g);
  return bind1(convForwardPrimitive, [x, w], g);
}

/** Per axis, or one number for all. */
export type PerAxis = number | readonly number[];

export interface ConvOptions {
  stride?: PerAxis;
  /** Zeros around the input: a number, one per axis, or [before, after] per axis; 'same' keeps the extents at stride 1 (odd kernels). */
  padding?: 'same' | number | readonly (number | readonly [number, number])[];
  dilation?: PerAxis;
  groups?: number;
}

function perAxis(value: PerAxis | undefined, axes: number, name: string, fallback = 1): number[] {
  const list =
    value === undefined
      ? new Array<number>(axes).fill(fallback)
      : typeof value === 'number'
        ? new Array<number>(axes).fill(value)
        : [...value];
  if (list.length !== axes || !list.every((n) => Number.isInteger(n) && n >= 1)) {
    throw new RangeError(`Expected an integer >= 1, or ${axes} of them, for ${name} but received ${JSON.stringify(value)}`);
  }
  return list;
}

function pads(padding: ConvOptions['padding'], kernel: readonly number[], dilation: readonly number[]): [number, number][] {
  if (padding === 'same') {
    return kernel.map((k, i) => {
      const total = (k - 1) * (dilation[i] as number);
      return [Math.floor(total / 2), total - Math.floor(total / 2)];
    });
  }
  const list = padding === undefined ? kernel.map(() => 0) : typeof padding === 'number' ? kernel.map(() => padding) : padding;
  const result = list.map((p): [number, number] => (typeof p === 'number' ? [p, p] : [p[0], p[1]]));
  if (result.length !== kernel.length || !result.flat().every((n) => Number.isInteger(n))) {
    throw new RangeError(`Expected 'same', an integer or ${kernel.length} of them for padding but received ${JSON.stringify(padding)}`);
  }
  return result;
}

function checkOperands(x: Tensor, w: Tensor, rank: number): void {
  checkFloat(x, 'x');
  checkFloat(w, 'w');
  if (x.rank !== rank || w.rank !== rank || x.dtype !== w.dtype) {
    throw new RangeError(
      `Expected tensors of rank ${rank} and equal dtype for x and w but received ${x.dtype} ${formatShape(x.shape)} and ${w.dtype} ${formatShape(w.shape)}`,
    );
  }
}

function checkGroups(groups: number, channels: number, perGroup: number, other: number, w: Aval): void {
  if (!Number.isInteger(groups) || groups < 1 || perGroup * groups !== channels || other % groups !== 0) {
    throw new RangeError(`Expected weights that fit ${channels} channels in ${groups} group(s) but received ${formatShape(w.shape)}`);
  }
}

/**
 * 2D cross-correlation.
 * @param x [n, c_in, h, w]
 * @param w [c_out, c_in / groups, kh, kw]
 * @returns [n, c_out, out_h, out_w], out = floor((extent + pads - dilation (k - 1) - 1) / stride) + 1
 */
export function conv2d(x: Tensor, w: Tensor, options: ConvOptions = {}): Tensor {
  return bind1(convForwardPrimitive, [x, w], convGeometry(x, w, options));
}

/** Checks the operands of `conv2d`, and works out the result's shape. */
export function convGeometry(x: Tensor, w: Tensor, options: ConvOptions): ConvGeometry {
  checkOperands(x, w, 4);
  const stride = perAxis(options.stride, 2, 'stride');
  const dilation = perAxis(options.dilation, 2, 'dilation');
  const groups = options.groups ?? 1;
  const kernel = w.shape.slice(2);
  const padding = pads(options.padding, kernel, dilation);
  checkGroups(groups, x.shape[1] as number, w.shape[1] as number, w.shape[0] as number, w);
  const out = kernel.map((k, i) => {
    const span = (x.shape[i + 2] as number) + padding[i]![0] + padding[i]![1] - (dilation[i] as number) * (k - 1) - 1;
    return Math.floor(span / (stride[i] as number)) + 1;
  });
  if (!out.every((n) => n >= 1) || !kernel.every((n) => n >= 1)) {
    throw new RangeError(
      `Expected an input at least as large as the kernel but received ${formatShape(x.shape)} and ${formatShape(w.shape)}`,
    );
  }
  return {
    x: x.shape,
    w: w.shape,
    y: [x.shape[0] as number, w.shape[0] as number, ...out],
    stride: stride as [number, number],
    padLow: [padding[0]![0], padding[1]![0]],
    dilation: dilation as [number, number],
    groups,
  };
}

/**
 * The adjoint of `conv2d` in x (transposed convolution).
 * @param y [n, c_out, h, w]
 * @param w [c_out, c_in / groups, kh, kw], as for the convolution that it transposes
 * @param options those of the convolution, and `outputPadding`: rows and columns added to the smallest possible result (0 <= it < stride)
 * @returns [n, c_in, (h - 1) stride + dilation (k - 1) + 1 - pads + outputPadding, …]
 */
export function convTranspose2d(y: Tensor, w: Tensor, options: ConvOptions & { outputPadding?: number | readonly number[] } = {}): Tensor {
  checkOperands(y, w, 4);
  const stride = perAxis(options.stride, 2, 'stride');
  const dilation = perAxis(options.dilation, 2, 'dilation');
  const groups = options.groups ?? 1;
  const kernel = w.shape.slice(2);
  const padding = pads(options.padding, kernel, dilation);
  const extra =
    typeof options.outputPadding === 'number' ? [options.outputPadding, options.outputPadding] : (options.outputPadding ?? [0, 0]);
  if (extra.length !== 2 || !extra.every((n, i) => Number.isInteger(n) && n >= 0 && n < (stride[i] as number))) {
    throw new RangeError(`Expected integers in [0, stride) for outputPadding but received ${JSON.stringify(options.outputPadding)}`);
  }
  if (y.shape[1] !== w.shape[0] || !Number.isInteger(groups) || groups < 1 || (w.shape[0] as number) % groups !== 0) {
    throw new RangeError(`Expected weights with ${y.shape[1]} output channels in ${groups} group(s) but received ${formatShape(w.shape)}`);
  }
  const out = kernel.map(
    (k, i) =>
      ((y.shape[i + 2] as number) - 1) * (stride[i] as number) +
      (dilation[i] as number) * (k - 1) +
      1 -
      padding[i]![0] -
      padding[i]![1] +
      (extra[i] as number),
  );
  if (!out.every((n) => n >= 1)) throw new RangeError(`Expected a result of at least one pixel but padding leaves ${formatShape(out)}`);
  return bind1(convDataPrimitive, [y, w], {
    x: [y.shape[0] as number, (w.shape[1] as number) * groups, ...out],
    w: w.shape,
    y: y.shape,
    stride: stride as [number, number],
    padLow: [padding[0]![0], padding[1]![0]],
    dilation: dilation as [number, number],
    groups,
  });
}

const lift = (x: Tensor): Tensor => reshape(x, [...x.shape.slice(0, -1), 1, x.shape[x.rank - 1] as number]);
const lower = (x: Tensor): Tensor => reshape(x, [...x.shape.slice(0, -2), x.shape[x.rank - 1] as number]);

function lifted(options: ConvOptions): ConvOptions {
  const first = (value: PerAxis | undefined): number =>
    value === undefined ? 1 : typeof value === 'number' ? value : (value[0] as number);
  const padding = options.padding;
  return {
    stride: [1, first(options.stride)],
    dilation: [1, first(options.dilation)],
    groups: options.groups ?? 1,
    padding: padding === 'same' ? 'same' : [0, typeof padding === 'number' ? padding : (padding?.[0] ?? 0)],
  };
}

/** 1D cross-correlation. x: [n, c_in, length], w: [c_out, c_in / groups, k]. */
export function conv1d(x: Tensor, w: Tensor, options: ConvOptions = {}): Tensor {
  return tidy(() => {
    checkOperands(x, w, 3);
    return lower(conv2d(lift(x), lift(w), lifted(options)));
  });
}

/** The adjoint of `conv1d` in x. */
export function convTranspose1d(y: Tensor, w: Tensor, options: ConvOptions & { outputPadding?: number } = {}): Tensor {
  return tidy(() => {
    checkOperands(y, w, 3);
    return lower(convTranspose2d(lift(y), lift(w), { ...lifted(options), outputPadding: [0, options.outputPadding ?? 0] }));
  });
}
