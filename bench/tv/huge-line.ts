/** Claim: one line of 1e8 samples on all cores, in memory that a workstation has (float32: 0.4 GB in, 0.4 GB out). */
import { freemem } from 'node:os';
import { Generator, type Tensor, tidy, tv } from 'tautgrad';
import { race, report, type Settings } from './measure.js';
import { certify } from './objectives.js';

const LENGTH = 100_000_000;
const PLATEAU = 1000;

export function run(settings: Settings): void {
  const name = 'one line of 1e8, sigma 0.5, lambda 1';
  if (!name.includes(settings.match)) return;
  if (freemem() < 6e9) {
    console.error(`left out: ${name} wants 6 GB of free memory`);
    return;
  }
  const x = new Generator(9).normal([LENGTH], { std: 0.5 });
  const samples = x.dataSync() as Float32Array;
  for (let i = 0; i < LENGTH; i++) samples[i] = (samples[i] as number) + (Math.floor(i / PLATEAU) % 2);
  let y: Tensor | undefined;
  const contestants: Record<string, () => void> = {
    ours: () => {
      y?.dispose();
      y = tidy(() => tv.prox1d(x, 1));
    },
  };
  const condat = settings.proxTv?.lines.Condat;
  const wide = condat ? Float64Array.from(samples) : undefined;
  const theirs = wide && new Float64Array(LENGTH);
  if (condat && wide && theirs) contestants.Condat = () => condat(wide, 1, theirs);
  const { ours, ...peers } = race(contestants, Math.min(3, settings.repeat), ['Condat']);
  const own = certify(samples, (y as Tensor).dataSync() as Float32Array, LENGTH, 1);
  report(settings, {
    name,
    lines: 1,
    length: LENGTH,
    lambda: 1,
    dtype: 'float32',
    ours: ours as number[],
    peers,
    optimum: own.objective - own.gap,
    objective: own.objective,
    peerObjective: () => certify(samples, theirs as Float64Array, LENGTH, 1).objective,
  });
  x.dispose();
  y?.dispose();
}
