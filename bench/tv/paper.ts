/**
 * Claim: the workload of Yeh et al. 2022 (Table 1: 256×32×32, lambda = 1), forward and backward in x and lambda, through the public call in
 * under half a millisecond on two cores.
 */
import { grad, ops, type Tensor, tensor, tidy, tv } from 'tautgrad';
import { steps } from './inputs.js';
import { PAPER_CASES } from './lines.js';
import { median, type Row, race, type Settings, spread } from './measure.js';
import { certify } from './objectives.js';

/** Milliseconds, forward and backward, as published. */
const PUBLISHED = [
  ['CVXPYLayers', 20704, 9932],
  ['proxTV taut string', 207.8, 430.7],
  ['proxTV projected Newton', 257.3, 447.0],
  ['their GPU solver, Titan X', 9.0, 17.7],
  ['their GPU solver, A6000', 10.0, 7.3],
] as const;
const BEST = PUBLISHED[4];

export function run(settings: Settings): void {
  const { threads, json, repeat } = settings;
  for (const [sigma, lambda] of PAPER_CASES) {
    const name = `Table 1: 256×32×32, sigma ${sigma}, lambda ${lambda}`;
    if (!name.includes(settings.match)) continue;
    const samples = steps(8192, 32, sigma, 4);
    const x = tidy(() => ops.cast(tensor(samples, { shape: [256, 32, 32] }), 'float32'));
    const bound = tensor(lambda);
    const forward = (): void => tidy(() => void tv.prox1d(x, bound));
    const both = (): void => tidy(() => void grad((v: { x: Tensor; l: Tensor }) => ops.sum(tv.prox1d(v.x, v.l)))({ x, l: bound }));
    const times = race({ forward, both }, 3 * repeat);
    const [f, b] = [times.forward as number[], times.both as number[]];
    const solution = (dtype: 'float32' | 'float64'): Float64Array =>
      tidy(() => Float64Array.from(tv.prox1d(ops.cast(tensor(samples, { shape: [8192, 32] }), dtype), lambda).toTypedArray()));
    const exact = certify(samples, solution('float64'), 32, lambda);
    const reached = certify(samples, solution('float32'), 32, lambda).objective;
    const ns = 1e6 / samples.length;
    const row = (part: string, ours: number, own: number, published: number): Row => ({
      case: `${name}: ${part}`,
      lines: 8192,
      length: 32,
      lambda,
      dtype: 'float32',
      threads,
      ours_ns: ours * ns,
      ours_spread: own,
      peer: `${BEST[0]}, as published`,
      peer_ns: published * ns,
      peer_spread: null,
      ratio: published / ours,
      objective: reached,
      excess: (reached - exact.objective + exact.gap) / exact.objective,
      peer_objective: null,
      peer_excess: null,
    });
    const backward = median(b) - median(f);
    if (json) {
      console.log(JSON.stringify(row('forward', median(f), spread(f), BEST[1])));
      console.log(JSON.stringify(row('backward', backward, spread(b), BEST[2])));
      console.log(JSON.stringify(row('sum', median(b), spread(b), BEST[1] + BEST[2])));
    } else
      console.log(
        `${threads}t ${name}: forward ${median(f).toFixed(3)} + backward ${backward.toFixed(3)} = ${median(b).toFixed(3)} ms (±${(50 * spread(b)).toFixed(0)} %)`,
      );
    x.dispose();
    bound.dispose();
  }
  if (!json)
    console.log(`  as published, lambda 1: ${PUBLISHED.map(([who, f, b]) => `${who} ${f} + ${b} = ${(f + b).toFixed(1)} ms`).join('; ')}`);
}
