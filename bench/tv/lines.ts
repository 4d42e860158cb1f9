/** Claim: many noisy lines, rows or columns, several times as fast as proxTV's fastest solver; smooth ones no slower. */
import { ops, tensor, tidy, tv } from 'tautgrad';
import { steps } from './inputs.js';
import { median, race, report, type Settings } from './measure.js';
import { certify } from './objectives.js';

const NOISY = ['taut string', 'hybrid taut string', 'Condat'];
const SMOOTH = [...NOISY, 'linearized taut string', 'dynamic programming'];

/** The cost of one call of proxTV through the foreign-function interface, in milliseconds: lines of one sample. */
let foreignCost: number | undefined;
function callCost(settings: Settings): number {
  const { proxTv, repeat } = settings;
  if (!proxTv) return 0;
  if (foreignCost === undefined) {
    const [x, y] = [new Float64Array(1), new Float64Array(1)];
    const call = (): void => {
      for (let i = 0; i < 1000; i++) proxTv.lines.Condat?.(x, 1, y);
    };
    foreignCost = median(race({ call }, repeat).call as number[]) / 1000;
  }
  return foreignCost;
}

/** @param x the lines as rows; axis 0: they are given to our solver as columns */
export function lineCase(
  settings: Settings,
  name: string,
  x: () => Float64Array,
  lines: number,
  length: number,
  lambda: number,
  axis: -1 | 0,
  peers: readonly string[],
): void {
  const { proxTv, repeat } = settings;
  if (!name.includes(settings.match)) return;
  const rows = x();
  const f64 = tidy(() => {
    const t = tensor(rows, { shape: [lines, length] });
    return axis === 0 ? ops.transpose(t) : t;
  });
  const asRows = (y: Float64Array, like: number[]): Float64Array =>
    axis === -1 ? y : (tidy(() => ops.transpose(tensor(y, { shape: like })).toTypedArray()) as Float64Array);
  const solve = (dtype: 'float32' | 'float64'): Float64Array =>
    asRows(
      tidy(() => Float64Array.from(tv.prox1d(ops.cast(f64, dtype), lambda, { axis }).toTypedArray())),
      axis === 0 ? [length, lines] : [lines, length],
    );
  const inputs = Array.from({ length: lines }, (_, i) => rows.subarray(i * length, (i + 1) * length));
  const output = new Float64Array(lines * length);
  const outputs = inputs.map((_, i) => output.subarray(i * length, (i + 1) * length));
  const theirs = (peer: string) => (): void => {
    for (let i = 0; i < lines; i++) proxTv?.lines[peer]?.(inputs[i] as Float64Array, lambda, outputs[i] as Float64Array);
  };
  const exact = certify(rows, solve('float64'), length, lambda);
  for (const dtype of ['float32', 'float64'] as const) {
    const own = ops.cast(f64, dtype);
    const contestants: Record<string, () => void> = { ours: () => tidy(() => void tv.prox1d(own, lambda, { axis })) };
    for (const peer of proxTv ? peers : []) contestants[peer] = theirs(peer);
    const { ours, ...times } = race(contestants, repeat);
    report(settings, {
      name,
      lines,
      length,
      lambda,
      dtype,
      ours: ours as number[],
      peers: times,
      callCost: lines * callCost(settings),
      optimum: exact.objective - exact.gap,
      objective: certify(rows, solve(dtype), length, lambda).objective,
      peerObjective: (peer) => {
        theirs(peer)();
        return certify(rows, output, length, lambda).objective;
      },
    });
    own.dispose();
  }
  f64.dispose();
}

export const PAPER_CASES = [
  [0.1, 1],
  [0.3, 1],
  [0.5, 1],
  [0.5, 0.1],
] as const;

export function run(settings: Settings): void {
  for (const [sigma, lambda] of PAPER_CASES)
    lineCase(settings, `8192 lines of 32, sigma ${sigma}, lambda ${lambda}`, () => steps(8192, 32, sigma, 1), 8192, 32, lambda, -1, NOISY);
  for (const lambda of [0.1, 1, 10])
    for (const axis of [-1, 0] as const) {
      const name = `1024 ${axis === -1 ? 'rows' : 'columns'} of 1024, sigma 0.5, lambda ${lambda}`;
      lineCase(settings, name, () => steps(1024, 1024, 0.5, 2), 1024, 1024, lambda, axis, NOISY);
    }
}

/** Lines without noise, where the direct method rescans and a linear-time solver takes over. */
export function runSmooth(settings: Settings): void {
  const shapes: Record<string, (t: number) => number> = { ramp: (t) => t, sine: (t) => Math.sin(6 * t), parabola: (t) => t * t };
  for (const [shape, f] of Object.entries(shapes)) {
    const line = (): Float64Array => Float64Array.from({ length: 256 * 4096 }, (_, i) => 100 * f((i % 4096) / 4096));
    lineCase(settings, `256 smooth lines of 4096: ${shape}, lambda 10`, line, 256, 4096, 10, -1, SMOOTH);
  }
}

export function runLong(settings: Settings): void {
  for (const lambda of [1, 10])
    lineCase(settings, `one line of 1e6, sigma 0.5, lambda ${lambda}`, () => steps(1, 1_000_000, 0.5, 3), 1, 1_000_000, lambda, -1, NOISY);
}
