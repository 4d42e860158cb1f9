/** How close a predicted flow comes to the model-driven one: PSNR over the whole series, SSIM frame by frame (specification §5). */
import { type Image, makeImage } from '../../data/index.js';
import { psnr, ssim } from '../../metrics/index.js';
import { mul, narrow, stack } from '../../ops/index.js';
import { Tensor, tidy } from '../../tensor/index.js';
import { flow } from '../../tv/index.js';
import { solveSpaceTime } from './joint.js';
import type { TVFlowNet } from './network.js';
import { predictSeries } from './predict.js';

export interface SeriesOptions {
  /** Number of times 0, step, 2 step, … Default 50. */
  points?: number;
  /** Default 0.02, on the network's scale. */
  step?: number;
}

/** The times of a series. */
export function seriesTimes({ points = 50, step = 0.02 }: SeriesOptions = {}): number[] {
  if (!Number.isInteger(points) || points < 1) throw new RangeError(`Expected an integer >= 1 for points but received ${String(points)}`);
  if (!(step > 0) || !Number.isFinite(step)) throw new RangeError(`Expected a finite number > 0 for step but received ${String(step)}`);
  return Array.from({ length: points }, (_, k) => k * step);
}

/**
 * The model-driven flow at the times of a series: `tv.flow` with one step from each time to the next.
 * @param f [..., h, w]
 * @param options `tolerance`: relative duality gap of each step, default 1e-6
 * @returns [points, ..., h, w]
 */
export function referenceSeries(f: Tensor, { tolerance = 1e-6, ...options }: SeriesOptions & { tolerance?: number } = {}): Tensor {
  const times = seriesTimes(options);
  return tidy(() => flow(f, { times, step: (options.step ?? 0.02) * (1 + 1e-9), tolerance }).u);
}

/** PSNR over all times together in dB, mean SSIM of the frames (7×7 windows, scikit-image's default). */
export interface SeriesScore {
  psnr: number;
  ssim: number;
}

/**
 * @param series [times, ..., h, w]
 * @param reference in the same shape
 * @param range distance from black to white
 */
export function scoreSeries(series: Tensor, reference: Tensor, range: number): SeriesScore {
  const [h, w] = reference.shape.slice(-2) as [number, number];
  const frames = reference.size / (h * w);
  const [a, b] = [series, reference].map((x) => makeImage(frames, h, w, x.toTypedArray() as Float32Array)) as [Image, Image];
  return { psnr: psnr(a, b, { range }), ssim: ssim(a, b, { range, window: 'uniform7' }) };
}

export interface FlowScore extends SeriesScore {
  name: string;
  /** Of u(t) = f for all t. */
  identityPsnr: number;
  identitySsim: number;
}

/** An image with its model-driven flow, at the network's scale. */
export interface FlowReference {
  name: string;
  /** [channels, h, w] */
  f: Tensor;
  /** [times, channels, h, w] */
  series: Tensor;
}

/**
 * The flow of a picture with values 0 … 1: 'flow' (default), model-driven, or 'joint', by joint space-time optimisation. The caller disposes
 * the tensors.
 */
export function referenceOf(
  name: string,
  image: Image,
  scale: number,
  { against = 'flow', ...options }: SeriesOptions & { against?: 'flow' | 'joint' } = {},
): FlowReference {
  const { data, channels, height, width } = image;
  return tidy(() => {
    const f = mul(Tensor.from(data, [channels, height, width]), scale);
    if (against === 'flow') return { name, f, series: referenceSeries(f, options) };
    const times = seriesTimes(options);
    return { name, f, series: solveSpaceTime(f, { points: times.length, endTime: times.at(-1) as number }).u };
  });
}

/** The model-driven flow of a picture with values 0 … 1 at some times, which count on values scaled by `scale`; in steps of 0.02 or less. */
export function referenceImages(image: Image, scale: number, times: readonly number[]): Image[] {
  const { data, channels, height, width } = image;
  return tidy(() => {
    const { u } = flow(mul(Tensor.from(data, [channels, height, width]), scale), { times, step: 0.02 });
    return times.map((_, k) => makeImage(channels, height, width, mul(narrow(u, 0, k, k + 1), 1 / scale).toTypedArray() as Float32Array));
  });
}

/** PSNR of the network's series. */
export function networkPsnr(network: TVFlowNet, { f, series }: FlowReference, options: SeriesOptions = {}): number {
  return tidy(() => {
    const { u } = predictSeries(network, f, seriesTimes(options));
    const n = u.size;
    const [x, y] = [u.dataSync(), series.dataSync()];
    let sum = 0;
    for (let i = 0; i < n; i++) sum += (x[i]! - y[i]!) ** 2;
    return 10 * Math.log10(network.options.scale ** 2 / (sum / n));
  });
}

/** Scores of the network and of doing nothing. */
export function scoreFlow(network: TVFlowNet, { name, f, series }: FlowReference, options: SeriesOptions = {}): FlowScore {
  const { scale } = network.options;
  return tidy(() => {
    const times = seriesTimes(options);
    const own = scoreSeries(predictSeries(network, f, times).u, series, scale);
    const identity = scoreSeries(
      stack(
        times.map(() => f),
        0,
      ),
      series,
      scale,
    );
    return { name, identityPsnr: identity.psnr, identitySsim: identity.ssim, ...own };
  });
}

/** Mean and standard deviation (over the images, as the paper's ±) of every number in the scores. */
export function summarise(scores: readonly FlowScore[]): { mean: Omit<FlowScore, 'name'>; deviation: Omit<FlowScore, 'name'> } {
  if (scores.length === 0) throw new RangeError('Expected at least one score but received none');
  const keys = ['identityPsnr', 'psnr', 'identitySsim', 'ssim'] as const;
  const mean = Object.fromEntries(keys.map((key) => [key, scores.reduce((s, score) => s + score[key], 0) / scores.length]));
  const deviation = Object.fromEntries(
    keys.map((key) => [key, Math.sqrt(scores.reduce((s, score) => s + (score[key] - mean[key]!) ** 2, 0) / scores.length)]),
  );
  return { mean, deviation } as unknown as ReturnType<typeof summarise>;
}
