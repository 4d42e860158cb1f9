/** The curves of training runs. */
import type { StepRecord } from '../train/index.js';
import type { ChartBlock, Series } from './types.js';

/** One run among those that share the charts. */
export interface ChartedRun {
  /** Before the names of its curves; empty when it is the only run. */
  readonly label: string;
  readonly history: readonly StepRecord[];
}

/** How the numbers of the log are called; others go by their own name. */
const metricNames: Readonly<Record<string, { title: string; unit: string }>> = {
  psnr: { title: 'PSNR of a batch', unit: 'PSNR (dB)' },
  'validation.psnr': { title: 'PSNR on the validation images', unit: 'PSNR (dB)' },
};

/**
 * Loss, every metric, the lambdas of all TV layers, learning rate and throughput, over the steps. Several runs share each chart; noisy
 * curves are then shown by their running means alone.
 */
export function runCharts(runs: readonly ChartedRun[]): ChartBlock[] {
  const x = { label: 'step' };
  const keys = new Set(runs.flatMap(({ history }) => history.flatMap(({ metrics }) => Object.keys(metrics))));
  const lambdaKeys = [...keys].filter((key) => key.startsWith('lambda.'));
  const curves = (value: (record: StepRecord) => number | undefined): Series[] =>
    runs.flatMap(({ label, history }) => {
      const points = history.flatMap((record) => {
        const y = value(record);
        return y === undefined ? [] : [[record.step, y] as const];
      });
      return withRunningMean(label, points, runs.length === 1);
    });
  const chart = (title: string, unit: string, series: readonly Series[], log = false): ChartBlock => ({
    kind: 'chart',
    title,
    x,
    y: { label: unit, ...(log && { log }) },
    series,
  });
  const metricCharts = [...keys]
    .filter((key) => !key.startsWith('lambda.'))
    .map((key) => {
      const { title, unit } = metricNames[key] ?? { title: key, unit: key };
      return chart(
        title,
        unit,
        curves(({ metrics }) => metrics[key]),
      );
    });
  const lambdas = runs.flatMap(({ label, history }) =>
    lambdaKeys
      .filter((key) => history.some(({ metrics }) => key in metrics))
      .map((key): Series => {
        const layer = key.slice('lambda.'.length);
        return {
          name: label === '' ? `${layer} layer` : `${layer} layer: ${label}`,
          points: history.map(({ step, metrics }) => [step, metrics[key] ?? null] as const),
        };
      }),
  );
  const rates = runs.map(
    ({ label, history }): Series => ({
      name: label || 'rate',
      points: history.map(({ step, learningRate }) => [step, learningRate] as const),
    }),
  );
  return [
    chart(
      'Loss of a batch',
      'loss',
      curves(({ loss }) => loss),
      true,
    ),
    ...metricCharts,
    ...(lambdas.length > 0 ? [chart('λ of the TV layers', 'λ (values 0 … 1)', lambdas)] : []),
    chart('Learning rate', 'learning rate', rates),
    chart(
      'Throughput',
      'samples per second',
      curves(({ samplesPerSecond }) => samplesPerSecond),
    ),
  ];
}

/** A noisy curve and, for runs of some length, its mean over a fortieth of the run around each step. */
function withRunningMean(label: string, points: readonly (readonly [number, number])[], both: boolean): Series[] {
  const reach = Math.floor(points.length / 80);
  const series = { name: label === '' ? 'each step' : label, points };
  if (reach < 2) return [series];
  const sums = new Float64Array(points.length + 1);
  for (const [i, [, y]] of points.entries()) sums[i + 1] = sums[i]! + y;
  const means = points.map(([x], i): readonly [number, number] => {
    const [from, to] = [Math.max(0, i - reach), Math.min(points.length, i + reach + 1)];
    return [x, (sums[to]! - sums[from]!) / (to - from)];
  });
  return both ? [series, { name: `mean of ${2 * reach + 1} steps`, points: means }] : [{ name: series.name, points: means }];
}

/** Means over the last steps, which a single batch's noise does not blur. */
export function finalMeans(history: readonly StepRecord[], steps = 50): { loss: number; psnr: number; samplesPerSecond: number } {
  const last = history.slice(-steps);
  const mean = (value: (record: StepRecord) => number): number => last.reduce((sum, record) => sum + value(record), 0) / last.length;
  return { loss: mean((r) => r.loss), psnr: mean((r) => r.metrics.psnr ?? Number.NaN), samplesPerSecond: mean((r) => r.samplesPerSecond) };
}
