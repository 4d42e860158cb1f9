/**
 * One typed function per kernel of native/backend.h. Arguments are trusted here: validation happens where users call.
 * Every argument is written into the addon's argument block as a double; shapes travel as rank followed by extents. The addresses say
 * which device's kernel is called.
 */
import { type Address, addon } from './addon.js';

export type Dims = readonly number[];

export enum UnaryOp {
  neg = 0,
  exp,
  log,
  log1p,
  expm1,
  sqrt,
  rsqrt,
  square,
  reciprocal,
  tanh,
  sigmoid,
  softplus,
  relu,
  abs,
  sign,
  sin,
  cos,
  floor,
  round,
  isNaN,
  roundBfloat16,
}
export enum BinaryOp {
  add = 0,
  sub,
  mul,
  div,
  pow,
  min,
  max,
  maskPositive,
}
export enum CompareOp {
  eq = 0,
  ne,
  lt,
  le,
  gt,
  ge,
}
export enum ReduceOp {
  sum = 0,
  prod,
  min,
  max,
  argMin,
  argMax,
}
export enum Tv2dMethod {
  accelerated = 0,
  dykstra = 1,
  exact = 2,
  sweeps = 3,
  pixels = 4,
}

export enum RofMethod {
  auto = 0,
  fista = 1,
  primalDual = 2,
}

/** Lines of a dense tensor seen as [outer, n, inner]. */
export interface Lines {
  outer: number;
  n: number;
  inner: number;
}

/** Mirrors tg_conv. */
export interface ConvParams {
  n: number;
  cIn: number;
  h: number;
  w: number;
  cOut: number;
  kh: number;
  kw: number;
  outH: number;
  outW: number;
  strideH: number;
  strideW: number;
  padH: number;
  padW: number;
  dilationH: number;
  dilationW: number;
  groups: number;
}

/** Mirrors tg_pool. */
export interface PoolParams {
  planes: number;
  h: number;
  w: number;
  kh: number;
  kw: number;
  strideH: number;
  strideW: number;
  padH: number;
  padW: number;
  outH: number;
  outW: number;
}

/** Mirrors tg_tv2d. */
export interface Tv2dParams {
  batch: number;
  height: number;
  width: number;
  method: Tv2dMethod;
  maxIterations: number;
}

/** Mirrors tg_rof. */
export interface RofParams {
  batch: number;
  channels: number;
  depth: number;
  height: number;
  width: number;
  dims: 2 | 3;
  rofMethod: RofMethod;
  maxIterations: number;
}

/** Mirrors tg_radon. */
export interface RadonParams {
  batch: number;
  height: number;
  width: number;
  views: number;
  detectors: number;
}

/** Mirrors tg_tv3d. */
export interface Tv3dParams {
  batch: number;
  volumeDepth: number;
  height: number;
  width: number;
  method: Tv2dMethod;
  maxIterations: number;
}

/** Numbers per image in a solver report: gap, relative gap, iterations, objective. */
export const TV_REPORT = 4;

/** Mirrors tg_parts: tensors that one call works through together. */
export interface Parts {
  count: number;
  /** Address of float64 [count, PART_NUMBERS] in memory of the CPU: dtype code, size, group, and four addresses as the kernel names them. */
  rows: Address;
}
/** Numbers of a row of `Parts`. */
export const PART_NUMBERS = 7;
/** float64 numbers of a group in the rates of `adam` and `sgd`. */
export const RATES = 4;

type Struct = Lines | ConvParams | PoolParams | Tv2dParams | Tv3dParams | RofParams | RadonParams | Parts;
type Argument = number | Dims | Struct;

const block = addon.arguments;
const index = new Map(addon.kernelNames.map((name, i) => [name, i]));

function write(values: readonly Argument[]): void {
  let at = 0;
  for (const value of values) {
    if (typeof value === 'number') {
      block[at++] = value;
    } else if (Array.isArray(value)) {
      block[at++] = value.length;
      for (let i = 0; i < value.length; i++) block[at++] = value[i] as number;
    } else {
      // Structs: the members in the order in which the interfaces above (and the C structs) declare them.
      for (const member of members(value as Struct)) block[at++] = member;
    }
  }
}

function members(value: Struct): number[] {
  if ('outer' in value) return [value.outer, value.n, value.inner];
  if ('cIn' in value) {
    const v = value;
    return [
      v.n,
      v.cIn,
      v.h,
      v.w,
      v.cOut,
      v.kh,
      v.kw,
      v.outH,
      v.outW,
      v.strideH,
      v.strideW,
      v.padH,
      v.padW,
      v.dilationH,
      v.dilationW,
      v.groups,
    ];
  }
  if ('planes' in value) {
    const v = value;
    return [v.planes, v.h, v.w, v.kh, v.kw, v.strideH, v.strideW, v.padH, v.padW, v.outH, v.outW];
  }
  if ('volumeDepth' in value) return [value.batch, value.volumeDepth, value.height, value.width, value.method, value.maxIterations];
  if ('rofMethod' in value)
    return [value.batch, value.channels, value.depth, value.height, value.width, value.dims, value.rofMethod, value.maxIterations];
  if ('rows' in value) return [value.count, value.rows];
  if ('views' in value) return [value.batch, value.height, value.width, value.views, value.detectors];
  return [value.batch, value.height, value.width, value.method, value.maxIterations];
}

function kernelIndex(name: string): number {
  const i = index.get(name);
  if (i === undefined) throw new Error(`The native addon has no kernel "${name}": run "npm rebuild tautgrad".`);
  return i;
}

function kernel<A extends readonly Argument[]>(name: string): (...values: A) => void {
  const i = kernelIndex(name);
  return (...values) => {
    write(values);
    addon.call(i);
  };
}

/** The asynchronous form runs on a worker thread: every storage must stay alive until the promise settles. */
function asyncKernel<A extends readonly Argument[]>(name: string): (...values: A) => Promise<void> {
  const i = kernelIndex(name);
  return (...values) => {
    write(values);
    return addon.callAsync(i);
  };
}

type D = number; // a dtype code

export const fill = kernel<[dtype: D, n: number, value: number, y: Address]>('fill');
export const arange = kernel<[dtype: D, n: number, start: number, step: number, y: Address]>('arange');
export const cast = kernel<[from: D, to: D, n: number, x: Address, y: Address]>('cast');
export const unary = kernel<[op: UnaryOp, dtype: D, n: number, x: Address, y: Address]>('unary');
export const binary =
  kernel<[op: BinaryOp, dtype: D, shape: Dims, a: Address, aStrides: Dims, b: Address, bStrides: Dims, y: Address]>('binary');
export const compare =
  kernel<[op: CompareOp, dtype: D, shape: Dims, a: Address, aStrides: Dims, b: Address, bStrides: Dims, y: Address]>('compare');
export const select =
  kernel<[dtype: D, shape: Dims, condition: Address, cStrides: Dims, a: Address, aStrides: Dims, b: Address, bStrides: Dims, y: Address]>(
    'select',
  );
export const copyStrided =
  kernel<[dtype: D, shape: Dims, x: Address, xOffset: number, xStrides: Dims, y: Address, yOffset: number, yStrides: Dims]>('copy_strided');
export const reduce = kernel<[op: ReduceOp, dtype: D, lines: Lines, x: Address, y: Address]>('reduce');
export const cumsum = kernel<[dtype: D, lines: Lines, reverse: number, x: Address, y: Address]>('cumsum');
export const gather = kernel<[dtype: D, lines: Lines, count: number, x: Address, index: Address, y: Address]>('gather');
export const scatterAdd = kernel<[dtype: D, lines: Lines, count: number, x: Address, index: Address, y: Address]>('scatter_add');
export const matmul =
  kernel<
    [
      dtype: D,
      batch: number,
      m: number,
      n: number,
      k: number,
      transposeA: number,
      transposeB: number,
      a: Address,
      aStride: number,
      b: Address,
      bStride: number,
      c: Address,
    ]
  >('matmul');
export const convForward = kernel<[dtype: D, p: ConvParams, x: Address, w: Address, y: Address]>('conv_forward');
export const convData = kernel<[dtype: D, p: ConvParams, dy: Address, w: Address, dx: Address]>('conv_data');
export const convWeights = kernel<[dtype: D, p: ConvParams, x: Address, dy: Address, dw: Address]>('conv_weights');
export const convForwardBias =
  kernel<[dtype: D, p: ConvParams, x: Address, w: Address, bias: Address, relu: number, y: Address]>('conv_forward_bias');
export const convDataMasked = kernel<[dtype: D, p: ConvParams, dy: Address, w: Address, mask: Address, dx: Address]>('conv_data_masked');
export const convWeightsBias = kernel<[dtype: D, p: ConvParams, x: Address, dy: Address, dw: Address, db: Address]>('conv_weights_bias');
type FrameArguments = [dtype: D, n: number, cIn: number, cOut: number, h: number, w: number, a: Address, b: Address, result: Address];
export const convFrameForward = kernel<FrameArguments>('conv_frame_forward'); // x, weights, y
export const convFrameData = kernel<FrameArguments>('conv_frame_data'); // dy, weights, dx
export const convFrameWeights = kernel<FrameArguments>('conv_frame_weights'); // x, dy, dw
export const scaleBlur = kernel<[dtype: D, planes: number, h: number, w: number, transposed: number, x: Address, y: Address]>('scale_blur');
export const logStudent =
  kernel<[dtype: D, order: number, nu: number, n: number, x: Address, a: Address, b: Address, y: Address]>('log_student');
export const softplusDerivative =
  kernel<[dtype: D, order: number, n: number, x: Address, a: Address, b: Address, y: Address]>('softplus_derivative');
export const batchNorm =
  kernel<
    [
      dtype: D,
      lines: Lines,
      epsilon: number,
      relu: number,
      x: Address,
      weight: Address,
      bias: Address,
      y: Address,
      mean: Address,
      variance: Address,
    ]
  >('batch_norm');
export const batchNormGradient =
  kernel<
    [
      dtype: D,
      lines: Lines,
      epsilon: number,
      relu: number,
      x: Address,
      weight: Address,
      bias: Address,
      mean: Address,
      variance: Address,
      dy: Address,
      dx: Address,
      dweight: Address,
      dbias: Address,
    ]
  >('batch_norm_gradient');
export const softmax = kernel<[dtype: D, lines: Lines, logOfIt: number, x: Address, y: Address]>('softmax');
export const softmaxGradient = kernel<[dtype: D, lines: Lines, logOfIt: number, y: Address, v: Address, out: Address]>('softmax_gradient');
export const logSumExp = kernel<[dtype: D, lines: Lines, x: Address, labels: Address, y: Address, lse: Address]>('log_sum_exp');
export const logSumExpGradient =
  kernel<[dtype: D, lines: Lines, x: Address, labels: Address, lse: Address, v: Address, out: Address]>('log_sum_exp_gradient');
export const layerNorm =
  kernel<
    [dtype: D, lines: Lines, epsilon: number, x: Address, weight: Address, bias: Address, y: Address, mean: Address, variance: Address]
  >('layer_norm');
export const layerNormGradient =
  kernel<
    [
      dtype: D,
      lines: Lines,
      epsilon: number,
      x: Address,
      weight: Address,
      mean: Address,
      variance: Address,
      dy: Address,
      dx: Address,
      dweight: Address,
      dbias: Address,
    ]
  >('layer_norm_gradient');
export const maxPool = kernel<[dtype: D, p: PoolParams, x: Address, y: Address, index: Address]>('max_pool');
export const maxPoolPick = kernel<[dtype: D, p: PoolParams, index: Address, v: Address, out: Address]>('max_pool_pick');
export const maxPoolSpread = kernel<[dtype: D, p: PoolParams, index: Address, v: Address, out: Address]>('max_pool_spread');
export const averagePool = kernel<[dtype: D, p: PoolParams, transposed: number, x: Address, y: Address]>('average_pool');
export const channelAffine =
  kernel<[dtype: D, lines: Lines, relu: number, x: Address, mean: Address, scale: Address, bias: Address, y: Address]>('channel_affine');
export const pttrf = kernel<[dtype: D, lines: Lines, d: Address, e: Address, dOut: Address, lOut: Address, status: Address]>('pttrf');
export const pttrs = kernel<[dtype: D, lines: Lines, d: Address, l: Address, b: Address, x: Address]>('pttrs');
export const ptsv = kernel<[dtype: D, lines: Lines, d: Address, e: Address, b: Address, x: Address, status: Address]>('ptsv');
export const gtsv = kernel<[dtype: D, lines: Lines, dl: Address, d: Address, du: Address, b: Address, x: Address, status: Address]>('gtsv');
export const randomUniform = kernel<[dtype: D, n: number, seed: number, offset: number, y: Address]>('random_uniform');
export const randomNormal = kernel<[dtype: D, n: number, seed: number, offset: number, y: Address]>('random_normal');
/** rates: float64 [groups, RATES], factor: 0 or one float64, both in memory of the parameters' device. */
export const adam = kernel<[parts: Parts, rates: Address, beta1: number, beta2: number, epsilon: number, factor: Address]>('adam');
export const sgd = kernel<[parts: Parts, rates: Address, momentum: number, nesterov: number, factor: Address]>('sgd');
/** out: float64 [2], the norm and the factor that limits it. */
export const globalNorm = kernel<[parts: Parts, limit: number, out: Address]>('global_norm');
export const movingAverage = kernel<[parts: Parts, decay: number]>('moving_average');
/** Kernels whose numbers lie in memory of the device, so that a captured step finds new ones there. */
export const randomUniformAt = kernel<[dtype: D, n: number, state: Address, y: Address]>('random_uniform_at');
export const randomNormalAt = kernel<[dtype: D, n: number, state: Address, y: Address]>('random_normal_at');
export const prox1d = kernel<[dtype: D, lines: Lines, x: Address, lambda: Address, weights: Address, y: Address]>('prox1d');
export const prox1dNewton =
  kernel<
    [
      dtype: D,
      lines: Lines,
      x: Address,
      lambda: Address,
      weights: Address,
      tolerance: number,
      maxIterations: number,
      y: Address,
      gap: Address,
    ]
  >('prox1d_newton');
export const prox1dAverage = kernel<[dtype: D, lines: Lines, y: Address, v: Address, out: Address]>('prox1d_average');
export const jumpSum = kernel<[dtype: D, lines: Lines, y: Address, weights: Address, a: Address, out: Address]>('jump_sum');
export const jumpSpread = kernel<[dtype: D, lines: Lines, y: Address, weights: Address, v: Address, out: Address]>('jump_spread');
type Prox2dArguments = [
  dtype: D,
  p: Tv2dParams,
  tolerance: number,
  x: Address,
  lambdaRows: Address,
  lambdaCols: Address,
  wx: Address,
  wy: Address,
  init: Address,
  y: Address,
  dual: Address,
  labels: Address,
  report: Address,
  cancel: Address,
];
export const prox2d = kernel<Prox2dArguments>('prox2d');
export const prox2dAsync = asyncKernel<Prox2dArguments>('prox2d');
export const componentAverage =
  kernel<[dtype: D, batch: number, pixels: number, labels: Address, v: Address, out: Address]>('component_average');
type RofArguments = [
  dtype: D,
  p: RofParams,
  tolerance: number,
  x: Address,
  lambda: Address,
  init: Address,
  y: Address,
  dual: Address,
  report: Address,
  cancel: Address,
];
export const rof = kernel<RofArguments>('rof');
export const rofAsync = asyncKernel<RofArguments>('rof');
export const rofDerivative = kernel<[p: RofParams, y: Address, dual: Address, lambda: Address, v: Address, out: Address]>('rof_derivative');

export const fft =
  kernel<[dtype: D, lines: Lines, direction: number, scale: number, re: Address, im: Address, outRe: Address, outIm: Address]>('fft');
export const radonForward = kernel<[dtype: D, p: RadonParams, spacing: number, angles: Address, x: Address, y: Address]>('radon_forward');
export const radonAdjoint = kernel<[dtype: D, p: RadonParams, spacing: number, angles: Address, y: Address, x: Address]>('radon_adjoint');
type Prox3dArguments = [
  dtype: D,
  p: Tv3dParams,
  tolerance: number,
  x: Address,
  lambdaDepth: Address,
  lambdaHeight: Address,
  lambdaWidth: Address,
  wDepth: Address,
  wHeight: Address,
  wWidth: Address,
  y: Address,
  labels: Address,
  report: Address,
  cancel: Address,
];
export const prox3d = kernel<Prox3dArguments>('prox3d');

export { type Address, addon } from './addon.js';
