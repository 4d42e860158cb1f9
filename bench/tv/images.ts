/**
 * Claim: pictures to a certified gap and exactly in a fraction of the time of proxTV's default (DR2, 35 iterations, which stops wherever it
 * is); gradients for little more.
 */
import { grad, ops, type Tensor, tensor, tidy, tv } from 'tautgrad';
import { deadLeaves, noisy, photo } from './inputs.js';
import { median, race, report, type Settings } from './measure.js';
import { objective } from './objectives.js';

/** proxTV's own default. */
export const DEFAULT_ITERATIONS = 35;
const GRADIENT = 'exact, with its gradient';

/** Images [lines, ...shape] to gaps of 1e-4 and 1e-6 and exactly, beside DR2. `full`: also float64 and the gradient in x and lambda. */
function imageCase(settings: Settings, name: string, images: Float64Array, shape: [number, number], lambda: number, full: boolean): void {
  if (!name.includes(settings.match)) return;
  const { threads, proxTv, repeat } = settings;
  const length = shape[0] * shape[1];
  const lines = images.length / length;
  const x64 = tensor(images, { shape: [lines, ...shape] });
  const x32 = ops.cast(x64, 'float32');
  const bound = tensor(lambda);
  const exact = tidy(() => tv.solve2d(x64, lambda, { exact: true }));
  const total = (v: Float64Array): number => v.reduce((a, b) => a + b, 0);
  const optimum = total(exact.objective) - total(exact.gap);
  const single = (i: number): Float64Array => images.subarray(i * length, (i + 1) * length);
  const sum = (y: Float64Array): number => {
    let all = 0;
    for (let i = 0; i < lines; i++) all += objective(single(i), y.subarray(i * length, (i + 1) * length), shape, lambda);
    return all;
  };
  const ways: Record<string, () => Tensor> = {
    'gap 1e-4': () => tv.prox2d(x32, lambda, { tolerance: 1e-4 }),
    'gap 1e-6': () => tv.prox2d(x32, lambda, { tolerance: 1e-6 }),
    exact: () => tv.prox2d(x32, lambda, { exact: true }),
    ...(full && {
      'exact, float64': () => tv.prox2d(x64, lambda, { exact: true }),
      // What it solves on the way; the timed call is below.
      [GRADIENT]: () => tv.prox2d(x32, lambda, { exact: true }),
    }),
  };
  const contestants: Record<string, () => void> = Object.fromEntries(
    Object.entries(ways).map(([way, f]): [string, () => void] => [way, () => tidy(() => void f())]),
  );
  if (full)
    contestants[GRADIENT] = () =>
      tidy(() => void grad((v: { x: Tensor; l: Tensor }) => ops.sum(ops.square(tv.prox2d(v.x, v.l))))({ x: x32, l: bound }));
  const y = new Float64Array(images.length);
  const dr2 = proxTv?.images.DR2;
  if (dr2)
    contestants.DR2 = () => {
      for (let i = 0; i < lines; i++) dr2(single(i), shape, lambda, y.subarray(i * length, (i + 1) * length), threads, DEFAULT_ITERATIONS);
    };
  const { DR2, ...times } = race(contestants, repeat);
  for (const [way, ours] of Object.entries(times)) {
    report(settings, {
      name: `${name}: ${way}`,
      lines,
      length,
      lambda,
      dtype: way.includes('float64') ? 'float64' : 'float32',
      ours,
      peers: DR2 ? { [`DR2, ${DEFAULT_ITERATIONS} iterations`]: DR2 } : {},
      optimum,
      objective: sum(tidy(() => Float64Array.from((ways[way] as () => Tensor)().toTypedArray()))),
      peerObjective: () => sum(y),
    });
  }
  if (full && !settings.json) {
    const forward = median(times.exact as number[]);
    console.log(`   backward / exact ${((100 * (median(times[GRADIENT] as number[]) - forward)) / forward).toFixed(0)} %`);
  }
  for (const t of [x64, x32, bound, exact.y, exact.dual]) t.dispose();
}

export const LAMBDAS = [0.02, 0.05, 0.1, 0.2, 1] as const;

export function runSynthetic(settings: Settings): void {
  for (const lambda of LAMBDAS)
    imageCase(settings, `512² dead leaves, lambda ${lambda}`, deadLeaves(512, 512, 5), [512, 512], lambda, true);
}

export async function runNatural(settings: Settings): Promise<void> {
  for (const file of ['08.png', '10.png']) {
    const image = await photo('set12', file);
    if (!image) return;
    for (const lambda of LAMBDAS) imageCase(settings, `512² Set12 ${file}, lambda ${lambda}`, noisy(image, 6), [512, 512], lambda, false);
  }
}

export function runBatch(settings: Settings): void {
  const images = new Float64Array(64 * 96 * 96);
  for (let i = 0; i < 64; i++) images.set(deadLeaves(96, 96, 100 + i), i * 96 * 96);
  imageCase(settings, '64 images of 96², lambda 0.1', images, [96, 96], 0.1, false);
}
