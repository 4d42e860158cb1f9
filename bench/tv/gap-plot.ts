/**
 * Time against the relative excess over the optimum, for every two-dimensional solver: ours and proxTV's, float64, one picture of 512².
 * Writes bench/plots/tv-gap-<lambda>.svg (the points as .json beside it); each point is a run of its own with another tolerance or number
 * of iterations.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tensor, tidy, tv } from 'tautgrad';
import { deadLeaves } from './inputs.js';
import { median, type Settings } from './measure.js';
import { objective } from './objectives.js';

interface Series {
  name: string;
  points: [ms: number, excess: number][];
}

const SHAPE = [512, 512] as const;
const FOLDER = join('bench', 'plots');
/** Below this excess rounding decides. */
const FLOOR = 1e-15;
/** A series ends with the first run that takes longer. */
const LONGEST_MS = 1000;

const TOLERANCES = [1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 1e-7, 1e-8, 1e-9];
const ITERATIONS = [1, 2, 4, 8, 16, 35, 70, 140, 280, 560, 1120];

export async function run(settings: Settings): Promise<void> {
  const image = deadLeaves(...SHAPE, 5);
  mkdirSync(FOLDER, { recursive: true });
  for (const lambda of [0.02, 0.1, 1]) {
    const name = `tv-gap-${lambda}`;
    if (!name.includes(settings.match)) continue;
    const series = measure(settings, image, lambda);
    writeFileSync(join(FOLDER, `${name}.json`), `${JSON.stringify({ lambda, threads: settings.threads, series }, null, 1)}\n`);
    await draw(name);
  }
}

function measure(settings: Settings, image: Float64Array, lambda: number): Series[] {
  const x = tensor(image, { shape: [...SHAPE] });
  const exact = tidy(() => tv.solve2d(x, lambda, { exact: true }));
  const optimum = (exact.objective[0] as number) - (exact.gap[0] as number);
  const excess = (y: Float64Array): number => Math.max(FLOOR, (objective(image, y, SHAPE, lambda) - optimum) / optimum);
  const y = new Float64Array(image.length);
  const all: Series[] = [];
  const add = (name: string, steps: readonly number[], solve: (step: number) => void): void => {
    const points: [number, number][] = [];
    for (const step of steps) {
      const times: number[] = [];
      do {
        const start = performance.now();
        solve(step);
        times.push(performance.now() - start);
      } while (times.length < 3 && (times[0] as number) < LONGEST_MS / 5);
      const ms = median(times);
      points.push([Number(ms.toPrecision(4)), Number(excess(y).toPrecision(3))]);
      if (ms > LONGEST_MS) break;
    }
    all.push({ name, points: points.sort((a, b) => a[0] - b[0]) });
    if (!settings.json) console.log(`${settings.threads}t lambda ${lambda} ${name}: ${points.map(([t, e]) => `${t} ms ${e}`).join(', ')}`);
  };
  const ours = (options: tv.Prox2dOptions) => (): void =>
    tidy(() => {
      y.set(tv.prox2d(x, lambda, options).dataSync() as Float64Array);
    });
  add('ours: Dykstra', TOLERANCES, (tolerance) => ours({ method: 'dykstra', tolerance })());
  add('ours: pixel FISTA', TOLERANCES, (tolerance) => ours({ method: 'pixels', tolerance })());
  add('ours: default', TOLERANCES, (tolerance) => ours({ tolerance })());
  add('ours: exact', [0], ours({ exact: true }));
  const { 'Chambolle-Pock': _, 'Chambolle-Pock, accelerated': accelerated, ...peers } = settings.proxTv?.images ?? {};
  if (accelerated) peers.CP = accelerated;
  for (const [peer, solve] of Object.entries(peers))
    add(`proxTV ${peer.replace('2', '')}`, ITERATIONS, (iterations) => solve(image, SHAPE, lambda, y, settings.threads, iterations));
  x.dispose();
  exact.y.dispose();
  exact.dual.dispose();
  return all;
}

/** What the charts of training reports are drawn with; it is not part of the package's public face. */
interface Charts {
  renderChart(chart: object, id: string): Promise<string>;
}

async function draw(name: string): Promise<void> {
  const { lambda, threads, series } = JSON.parse(readFileSync(join(FOLDER, `${name}.json`), 'utf8')) as {
    lambda: number;
    threads: number;
    series: Series[];
  };
  const charts = (await import(new URL('../../../dist/report/chart.js', import.meta.url).href)) as Charts;
  const svg = await charts.renderChart(
    {
      kind: 'chart',
      title: `Total variation of a 512² picture, lambda ${lambda}, ${threads} thread(s): time against excess`,
      x: { label: 'milliseconds', log: true },
      y: { label: 'relative excess of the objective', log: true },
      series,
    },
    name,
  );
  // By itself a drawing has no page whose colours it could take.
  const file = join(FOLDER, `${name}.svg`);
  writeFileSync(file, `${svg.replace('style="', 'style="color:#333;background:#fff;')}\n`);
  console.log(`wrote ${file}`);
}
