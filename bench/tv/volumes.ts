/** Claim: volumes to a certified gap, beside proxTV's proximal Dykstra (PD) and Yang's method, 35 iterations each. */
import { ops, tensor, tidy, tv } from 'tautgrad';
import { DEFAULT_ITERATIONS } from './images.js';
import { volume } from './inputs.js';
import { race, report, type Settings } from './measure.js';
import { objective } from './objectives.js';

const SIZE = 64;

export function run(settings: Settings): void {
  const shape = [SIZE, SIZE, SIZE];
  const voxels = volume(SIZE, 21);
  for (const lambda of [0.05, 0.1, 0.5]) {
    const name = `64³ balls, lambda ${lambda}, gap 1e-6`;
    if (!name.includes(settings.match)) continue;
    const x64 = tensor(voxels, { shape });
    const best = tidy(() => tv.solve3d(x64, lambda, { tolerance: 1e-9 }));
    const y = new Float64Array(voxels.length);
    for (const dtype of ['float32', 'float64'] as const) {
      const x = ops.cast(x64, dtype);
      const contestants: Record<string, () => void> = { ours: () => tidy(() => void tv.prox3d(x, lambda)) };
      for (const [peer, solve] of Object.entries(settings.proxTv?.volumes ?? {}))
        contestants[peer] = () => solve(voxels, shape, lambda, y, settings.threads, DEFAULT_ITERATIONS);
      const { ours, ...peers } = race(contestants, Math.min(3, settings.repeat), ['PD', 'Yang3']);
      report(settings, {
        name,
        lines: 1,
        length: voxels.length,
        lambda,
        dtype,
        ours: ours as number[],
        peers,
        optimum: (best.objective[0] as number) - (best.gap[0] as number),
        objective: tidy(() => objective(voxels, Float64Array.from(tv.prox3d(x, lambda).toTypedArray()), shape, lambda)),
        peerObjective: (peer) => {
          contestants[peer]?.();
          return objective(voxels, y, shape, lambda);
        },
      });
      x.dispose();
    }
    x64.dispose();
    best.y.dispose();
  }
}
