import { devices } from '../backend/index.js';
import type { ChartBlock, Series } from '../report/index.js';
import type { StepRecord } from '../train/index.js';
import { version } from './version.js';

/** The curves of a training run: loss, PSNR, and the lambdas of its TV layers. */
export function trainingCharts(history: readonly StepRecord[]): ChartBlock[] {
  const x = { label: 'step' };
  const metric = (name: string, key: string): Series => ({
    name,
    points: history.map(({ step, metrics }) => [step, metrics[key] ?? null] as const),
  });
  const lambdas = Object.keys(history[0]?.metrics ?? {}).filter((key) => key.startsWith('lambda.'));
  return [
    {
      kind: 'chart',
      title: 'Loss (mean squared error of a batch)',
      x,
      y: { label: 'loss', log: true },
      series: withRunningMean({ name: 'batch', points: history.map(({ step, loss }) => [step, loss] as const) }),
    },
    { kind: 'chart', title: 'PSNR of a batch', x, y: { label: 'PSNR (dB)' }, series: withRunningMean(metric('batch', 'psnr')) },
    {
      kind: 'chart',
      title: 'λ of the TV layers',
      x,
      y: { label: 'λ (values 0 … 1)' },
      series: lambdas.map((key) => metric(`${key.slice('lambda.'.length)} layer`, key)),
    },
  ];
}

/** A noisy curve and, for runs of some length, its mean over a fortieth of the run around each step. */
function withRunningMean(series: Series): Series[] {
  const { points } = series;
  const reach = Math.floor(points.length / 80);
  if (reach < 2) return [series];
  const sums = new Float64Array(points.length + 1);
  for (const [i, [, y]] of points.entries()) sums[i + 1] = sums[i]! + (y ?? 0);
  const means = points.map(([x], i): readonly [number, number] => {
    const [from, to] = [Math.max(0, i - reach), Math.min(points.length, i + reach + 1)];
    return [x, (sums[to]! - sums[from]!) / (to - from)];
  });
  return [series, { name: `mean of ${2 * reach + 1} steps`, points: means }];
}

/** Means over the last steps, which a single batch's noise does not blur. */
export function finalMeans(history: readonly StepRecord[], steps = 50): { loss: number; psnr: number; samplesPerSecond: number } {
  const last = history.slice(-steps);
  const mean = (value: (record: StepRecord) => number): number => last.reduce((sum, record) => sum + value(record), 0) / last.length;
  return { loss: mean((r) => r.loss), psnr: mean((r) => r.metrics.psnr ?? Number.NaN), samplesPerSecond: mean((r) => r.samplesPerSecond) };
}

/** Version, machine and date, for the end of a report. */
export function reportFooter(): string {
  const cpu = devices().find(({ name }) => name === 'cpu');
  const date = new Date().toISOString().slice(0, 10);
  return `tautgrad ${version} · Node.js ${process.versions.node} · ${process.platform}-${process.arch} · ${cpu?.description}, ${cpu?.threads} threads · ${date}`;
}
