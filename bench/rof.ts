/**
 * Isotropic total variation against scikit-image, and volumes.
 *
 *   TAUTGRAD_THREADS=1 npm run bench -- rof [--size 512 --lambdas 0.05,0.1,0.2,1 --repeat 5 --python python3]
 *
 * Each lambda: scikit-image's denoise_tv_chambolle (Chambolle's projection, double, its weight is lambda) runs once with its default
 * stopping rule and once with 600 steps; ours runs to the relative excess of the objective that each reached over ours at a
 * gap of 1e-9. Medians; scikit-image runs in a process of its own, after ours. Skipped where it is not installed.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ops, type Tensor, tensor, tidy, tv } from 'tautgrad';

const { values: args } = parseArgs({
  options: {
    size: { type: 'string', default: '512' },
    repeat: { type: 'string', default: '5' },
    lambdas: { type: 'string', default: '0.05,0.1,0.2,1' },
    python: { type: 'string', default: 'python3' },
  },
});
const size = Number(args.size);
const repeat = Number(args.repeat);
const median = (v: number[]): number => [...v].sort((a, b) => a - b)[Math.floor(v.length / 2)] as number;

/** Rectangles and noise of sigma 25 / 255, values about 0 … 1. */
function scene(shape: number[]): Float64Array {
  let state = 7;
  const random = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const boxes = Array.from({ length: 60 }, () => ({
    centre: shape.map((n) => random() * n),
    half: shape.map((n) => (random() * n) / 3),
    grey: random(),
  }));
  return Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, flat) => {
    const at: number[] = [];
    let rest = flat;
    for (let k = shape.length - 1; k >= 0; k--) {
      at[k] = rest % (shape[k] as number);
      rest = Math.floor(rest / (shape[k] as number));
    }
    let v = 0.5;
    for (const { centre, half, grey } of boxes) if (at.every((p, k) => Math.abs(p - (centre[k] as number)) < (half[k] as number))) v = grey;
    return v + (25 / 255) * Math.sqrt(-2 * Math.log(random() + 1e-12)) * Math.cos(2 * Math.PI * random());
  });
}

function time(run: () => void): number {
  run();
  return median(
    Array.from({ length: repeat }, () => {
      const start = performance.now();
      run();
      return performance.now() - start;
    }),
  );
}

const PEER = `
import json, sys, time, numpy as np
from skimage.restoration import denoise_tv_chambolle
folder, size, repeat = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
x = np.fromfile(folder + '/x.f64').reshape(size, size)
rows = []
for weight in json.loads(sys.argv[4]):
    for eps, steps in ((2e-4, 200), (1e-12, 600)):
        times = []
        for _ in range(repeat if steps == 200 else 1):
            start = time.perf_counter()
            y = denoise_tv_chambolle(x, weight, eps, steps)
            times.append(1e3 * (time.perf_counter() - start))
        rows.append(dict(weight=weight, steps=steps, ms=float(np.median(times)), y=len(rows)))
        y.astype(np.float64).tofile(folder + '/y%d.f64' % (len(rows) - 1))
print(json.dumps(rows))
`;

const lambdas = args.lambdas.split(',').map(Number);
const data = scene([size, size]);
const x = tensor(data, { shape: [size, size] });
const x32 = ops.cast(x, 'float32');

const objective = (y: Tensor, lambda: number): number =>
  tidy(() => 0.5 * ops.sum(ops.square(ops.sub(y, x))).item() + lambda * tv.totalVariation(y, { isotropic: true }).item());

for (const lambda of lambdas)
  for (const [name, image] of [
    ['float32', x32],
    ['float64', x],
  ] as const)
    for (const method of ['fista', 'primal-dual', 'auto'] as const) {
      const cells = [1e-4, 1e-6].map((tolerance) => {
        let iterations = 0;
        let gap = 0;
        const ms = time(() =>
          tidy(() => {
            const s = tv.solveRof(image, lambda, { tolerance, method });
            iterations = s.iterations[0] as number;
            gap = s.relativeGap[0] as number;
          }),
        );
        return `gap ${tolerance}: ${ms.toFixed(1)} ms, ${iterations} iterations${gap > tolerance ? ` (reached ${gap.toExponential(1)})` : ''}`;
      });
      console.log(`${size}², lambda ${lambda}, ${name}, ${method}: ${cells.join('; ')}`);
    }

const folder = mkdtempSync(join(tmpdir(), 'rof-'));
try {
  writeFileSync(join(folder, 'x.f64'), data);
  const run = spawnSync(args.python, ['-c', PEER, folder, String(size), String(repeat), JSON.stringify(lambdas)], { encoding: 'utf8' });
  if (run.status !== 0) console.log('skipped scikit-image: it is not installed for this python3');
  else
    for (const row of JSON.parse(run.stdout) as { weight: number; steps: number; ms: number; y: number }[]) {
      const bytes = readFileSync(join(folder, `y${row.y}.f64`));
      const theirs = tensor(new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)), {
        shape: [size, size],
      });
      const best = tv.solveRof(x, row.weight, { tolerance: 1e-8, maxIterations: 50_000 });
      const excess = objective(theirs, row.weight) / (best.objective[0] as number) - 1;
      const tolerance = Math.min(0.5, Math.max(1e-6, excess));
      const ours = time(() => tidy(() => void tv.rof(x32, row.weight, { tolerance })));
      console.log(
        `scikit-image, lambda ${row.weight}, at most ${row.steps} steps: ${row.ms.toFixed(1)} ms, relative excess ${excess.toExponential(1)}; ` +
          `ours to that certified gap ${ours.toFixed(1)} ms, ratio ${(row.ms / ours).toFixed(1)}`,
      );
    }
} finally {
  rmSync(folder, { recursive: true });
}

const volume = tensor(scene([64, 64, 64]), { shape: [64, 64, 64], dtype: 'float32' });
for (const lambda of [0.05, 0.1, 0.5])
  for (const [name, solve] of [
    ['anisotropic', tv.solve3d],
    ['isotropic', (v: Tensor, l: number) => tv.solveRof(v, l, { dims: 3 })],
  ] as const) {
    let line = '';
    const ms = time(() =>
      tidy(() => {
        const s = solve(volume, lambda);
        line = `${s.iterations[0]} iterations, relative gap ${(s.relativeGap[0] as number).toExponential(1)}`;
      }),
    );
    console.log(`64³ ${name}, lambda ${lambda}, float32, gap 1e-6: ${ms.toFixed(1)} ms, ${line}`);
  }
