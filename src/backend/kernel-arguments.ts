/**
 * What the kernels of native/backend.h take: the codes of its enumerations, and its structs. Every argument is written into the addon's
 * argument block as a double; shapes travel as rank followed by extents.
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
export type Argument = number | Dims | Struct;

const block = addon.arguments;

/** Into the addon's argument block, for the call that follows. */
export function write(values: readonly Argument[]): void {
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
