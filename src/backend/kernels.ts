/**
 * One typed function per kernel of native/backend.h. Arguments are trusted here: validation happens where users call. The addresses say
 * which device's kernel is called.
 */
import { type Address, addon } from './addon.js';
import {
  type Argument,
  type BinaryOp,
  type CompareOp,
  type ConvParams,
  type Dims,
  type Lines,
  type Parts,
  type PoolParams,
  type RadonParams,
  type ReduceOp,
  type RofParams,
  type Tv2dParams,
  type Tv3dParams,
  type UnaryOp,
  write,
} from './kernel-arguments.js';

const index = new Map(addon.kernelNames.map((name, i) => [name, i]));

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
export {
  BinaryOp,
  CompareOp,
  type ConvParams,
  type Dims,
  type Lines,
  PART_NUMBERS,
  type Parts,
  type PoolParams,
  RATES,
  type RadonParams,
  ReduceOp,
  RofMethod,
  type RofParams,
  TV_REPORT,
  Tv2dMethod,
  type Tv2dParams,
  type Tv3dParams,
  UnaryOp,
} from './kernel-arguments.js';
