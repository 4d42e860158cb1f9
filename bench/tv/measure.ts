/** Turns, medians and rows: what the parts of `npm run bench:tv` share. */
import { type DType, devices } from 'tautgrad';
import type { ProxTv } from '../peers/proxtv.js';

/** One measurement. Times are nanoseconds per sample; a spread is (third quartile - first quartile) / median. */
export interface Row {
  case: string;
  /** Lines, or images, or volumes. */
  lines: number;
  /** Samples of each. */
  length: number;
  lambda: number;
  dtype: DType;
  threads: number;
  ours_ns: number;
  ours_spread: number;
  /** The fastest of the peers that were tried, and its time; null without one. */
  peer: string | null;
  peer_ns: number | null;
  peer_spread: number | null;
  /** The peer's time over ours. */
  ratio: number | null;
  /** ½|y - x|² + λ TV(y) of our result, in float64, and how far it is above the certified optimum, relative to that. */
  objective: number;
  excess: number;
  peer_objective: number | null;
  peer_excess: number | null;
}

export interface Settings {
  threads: number;
  /** Turns of each contestant. */
  repeat: number;
  json: boolean;
  /** Only cases whose name holds this text. */
  match: string;
  proxTv: ProxTv | null;
}

const sorted = (v: readonly number[]): number[] => [...v].sort((a, b) => a - b);
export const median = (v: readonly number[]): number => sorted(v)[Math.floor(v.length / 2)] as number;
export function spread(v: readonly number[]): number {
  const s = sorted(v);
  return ((s[Math.floor((3 * s.length) / 4)] as number) - (s[Math.floor(s.length / 4)] as number)) / median(v);
}

/**
 * Contestants in turns, one turn lasting a few milliseconds at least; milliseconds per call. The first call of each is not counted.
 * @param once contestants that take seconds: a single call each, which counts
 */
export function race(
  contestants: Readonly<Record<string, () => void>>,
  repeat: number,
  once: readonly string[] = [],
): Record<string, number[]> {
  const calls: Record<string, number> = {};
  const times: Record<string, number[]> = {};
  const timed = (run: () => void, n: number): number => {
    const start = performance.now();
    for (let i = 0; i < n; i++) run();
    return (performance.now() - start) / n;
  };
  for (const [name, run] of Object.entries(contestants)) {
    times[name] = [];
    if (once.includes(name)) {
      times[name].push(timed(run, 1));
      continue;
    }
    run();
    calls[name] = Math.max(1, Math.ceil(5 / Math.max(0.001, timed(run, 1))));
  }
  for (let k = 0; k < repeat; k++)
    for (const [name, run] of Object.entries(contestants)) if (calls[name] !== undefined) times[name]?.push(timed(run, calls[name]));
  return times;
}

/** Our times and the peers', in milliseconds for all samples, as a row. */
export interface Outcome {
  name: string;
  lines: number;
  length: number;
  lambda: number;
  dtype: DType;
  ours: readonly number[];
  peers: Readonly<Record<string, readonly number[]>>;
  /** Milliseconds of the peers' times that are not theirs. */
  callCost?: number;
  /** A lower bound of every objective. */
  optimum: number;
  objective: number;
  /** The objective that a peer reached. */
  peerObjective?: (peer: string) => number;
}

export function report(settings: Settings, outcome: Outcome): Row {
  const { name, lines, length, lambda, dtype, ours, peers, callCost = 0, optimum, objective } = outcome;
  const scale = 1e6 / (lines * length);
  const best = Object.entries(peers)
    .map(([peer, t]): [string, number, number] => [peer, median(t) - callCost, spread(t)])
    .sort((a, b) => a[1] - b[1])[0];
  const peerObjective = best && outcome.peerObjective ? outcome.peerObjective(best[0]) : null;
  const excess = (value: number): number => (optimum > 0 ? (value - optimum) / optimum : value - optimum);
  const row: Row = {
    case: name,
    lines,
    length,
    lambda,
    dtype,
    threads: settings.threads,
    ours_ns: median(ours) * scale,
    ours_spread: spread(ours),
    peer: best?.[0] ?? null,
    peer_ns: best ? best[1] * scale : null,
    peer_spread: best?.[2] ?? null,
    ratio: best ? best[1] / median(ours) : null,
    objective,
    excess: excess(objective),
    peer_objective: peerObjective,
    peer_excess: peerObjective === null ? null : excess(peerObjective),
  };
  print(settings, row);
  return row;
}

const percent = (v: number | null): string => (v === null || Number.isNaN(v) ? '' : ` ±${(50 * v).toFixed(0)} %`);

function print(settings: Settings, row: Row): void {
  if (settings.json) {
    console.log(JSON.stringify(row));
    return;
  }
  const time = (ns: number): string => {
    const ms = (ns * row.lines * row.length) / 1e6;
    return row.length >= 4096 && row.lines < 1024 ? `${ms < 100 ? ms.toFixed(1) : ms.toFixed(0)} ms` : `${ns.toFixed(2)} ns`;
  };
  const beside =
    row.peer_ns === null
      ? ''
      : `  ${row.peer} ${time(row.peer_ns)}${percent(row.peer_spread)} (${row.peer_excess?.toExponential(1) ?? '-'}), ratio ${(row.ratio as number).toFixed(1)}`;
  console.log(
    `${row.threads}t ${row.case.padEnd(44)} ${row.dtype} ${time(row.ours_ns).padStart(9)}${percent(row.ours_spread)} (${row.excess.toExponential(1)})${beside}`,
  );
}

/** What is measured, on one line. */
export function describe({ threads, proxTv }: Settings): string {
  const cpu = devices().find(({ name }) => name === 'cpu');
  return `${cpu?.description ?? 'CPU'}, ${threads} thread(s), ${proxTv ? 'proxTV' : 'no peer'}; in brackets the relative excess over the optimum`;
}
