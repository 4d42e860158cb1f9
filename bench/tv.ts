/**
 * The TV solvers against proxTV.
 *
 *   PROXTV_LIB=/path/libproxtv.so npm run bench:tv [-- --threads 1,2 --repeat 9 --json --only 1d|2d|paper --match smooth]
 *
 * Same process, same inputs, in turns; medians. Ours through the public TypeScript calls, float32 against proxTV's double unless said
 * (both have their float64 rows too). proxTV is called line by line through a foreign-function interface whose cost, measured on lines of
 * one sample, is taken off its times. The ratio is the fastest peer's time over ours.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type DType, data, Generator, grad, ops, type Tensor, Tensor as TensorClass, tensor, tidy, tv } from 'tautgrad';
import { loadProxTv } from './peers/proxtv.js';

const { values: args } = parseArgs({
  options: {
    threads: { type: 'string', default: '1,2' },
    repeat: { type: 'string', default: '9' },
    json: { type: 'boolean', default: false },
    only: { type: 'string' },
    match: { type: 'string', default: '' },
    child: { type: 'string' },
  },
});

interface Row {
  case: string;
  lines: number;
  length: number;
  lambda: number;
  dtype: DType;
  threads: number;
  ours_ns: number;
  /** (third quartile - first quartile) / median of ours */
  spread: number;
  peer: string | null;
  peer_ns: number | null;
  ratio: number | null;
}

const threads = Number(args.child ?? 1);
const repeat = Number(args.repeat);
const sorted = (v: number[]): number[] => [...v].sort((a, b) => a - b);
const median = (v: number[]): number => sorted(v)[Math.floor(v.length / 2)] as number;
const quartiles = (v: number[]): number =>
  ((sorted(v)[Math.floor((3 * v.length) / 4)] as number) - (sorted(v)[Math.floor(v.length / 4)] as number)) / median(v);

/** Contestants in turns, each repeated until a turn takes a few milliseconds; milliseconds per call. */
function race(contestants: Record<string, () => void>): Record<string, number[]> {
  const calls: Record<string, number> = {};
  for (const [name, run] of Object.entries(contestants)) {
    run();
    const start = performance.now();
    run();
    calls[name] = Math.max(1, Math.ceil(5 / Math.max(0.001, performance.now() - start)));
  }
  const times: Record<string, number[]> = Object.fromEntries(Object.keys(contestants).map((name) => [name, []]));
  for (let k = 0; k < repeat; k++) {
    for (const [name, run] of Object.entries(contestants)) {
      const n = calls[name] as number;
      const start = performance.now();
      for (let i = 0; i < n; i++) run();
      times[name]?.push((performance.now() - start) / n);
    }
  }
  return times;
}

function print(row: Row): void {
  if (args.json) {
    console.log(JSON.stringify(row));
    return;
  }
  const peer = row.peer_ns === null ? '' : `  ${row.peer} ${row.peer_ns.toFixed(2)} ns, ratio ${(row.ratio as number).toFixed(1)}`;
  console.log(
    `${row.threads} thread(s)  ${row.case.padEnd(40)} ${row.dtype} ${row.ours_ns.toFixed(2).padStart(8)} ns/sample (±${(50 * row.spread).toFixed(0)} %)${peer}`,
  );
}

const proxTv = loadProxTv();

/** The cost of one foreign call, in milliseconds. */
function callCost(): number {
  if (!proxTv) return 0;
  const [x, y] = [new Float64Array(1), new Float64Array(1)];
  return (
    median(
      race({
        call: () => {
          for (let i = 0; i < 1000; i++) proxTv.lines.Condat?.(x, 1, y);
        },
      }).call as number[],
    ) / 1000
  );
}
const foreignCost = callCost();

function lineCase(name: string, x: Float64Array, lines: number, length: number, lambda: number, axis: -1 | 0, peers: string[]): void {
  if (!name.includes(args.match)) return;
  const f64 = tensor(x, { shape: axis === -1 ? [lines, length] : [length, lines] });
  const rows = axis === -1 ? x : (tidy(() => ops.transpose(f64).toTypedArray()) as Float64Array);
  const inputs = Array.from({ length: lines }, (_, i) => rows.slice(i * length, (i + 1) * length));
  const outputs = inputs.map(() => new Float64Array(length));
  for (const dtype of ['float32', 'float64'] as const) {
    const own = ops.cast(f64, dtype);
    const contestants: Record<string, () => void> = { ours: () => tidy(() => void tv.prox1d(own, lambda, { axis })) };
    for (const peer of proxTv ? peers : []) {
      contestants[peer] = () => {
        for (let i = 0; i < lines; i++) proxTv?.lines[peer]?.(inputs[i] as Float64Array, lambda, outputs[i] as Float64Array);
      };
    }
    const { ours, ...theirs } = race(contestants);
    const best = Object.entries(theirs)
      .map(([peer, t]): [string, number] => [peer, median(t) - lines * foreignCost])
      .sort((a, b) => a[1] - b[1])[0];
    const scale = 1e6 / (lines * length);
    print({
      case: name,
      lines,
      length,
      lambda,
      dtype,
      threads,
      ours_ns: median(ours as number[]) * scale,
      spread: quartiles(ours as number[]),
      peer: best?.[0] ?? null,
      peer_ns: best ? best[1] * scale : null,
      ratio: best ? best[1] / median(ours as number[]) : null,
    });
    own.dispose();
  }
  f64.dispose();
}

/** A unit step in the middle of each line, plus noise. */
function steps(lines: number, length: number, sigma: number, seed: number): Float64Array {
  const noise = tidy(() => new Generator(seed).normal([lines * length], { std: sigma, dtype: 'float64' }).toTypedArray()) as Float64Array;
  return noise.map((v, i) => v + (i % length >= length / 2 ? 1 : 0));
}

const NOISY = ['taut string', 'hybrid taut string', 'Condat'];
const SMOOTH = [...NOISY, 'linearized taut string', 'dynamic programming'];

function oneDimensional(): void {
  for (const [sigma, lambda] of [
    [0.1, 1],
    [0.3, 1],
    [0.5, 1],
    [0.5, 0.1],
  ] as const) {
    lineCase(`8192 lines of 32, sigma ${sigma}, lambda ${lambda}`, steps(8192, 32, sigma, 1), 8192, 32, lambda, -1, NOISY);
  }
  for (const lambda of [0.1, 1, 10]) {
    for (const axis of [-1, 0] as const) {
      lineCase(
        `1024 ${axis === -1 ? 'rows' : 'columns'} of 1024, sigma 0.5, lambda ${lambda}`,
        steps(1024, 1024, 0.5, 2),
        1024,
        1024,
        lambda,
        axis,
        NOISY,
      );
    }
  }
  const smooth: Record<string, (t: number) => number> = { ramp: (t) => t, sine: (t) => Math.sin(6 * t), parabola: (t) => t * t };
  for (const [shape, f] of Object.entries(smooth)) {
    const line = Float64Array.from({ length: 256 * 4096 }, (_, i) => 100 * f((i % 4096) / 4096));
    lineCase(`256 smooth lines of 4096: ${shape}, lambda 10`, line, 256, 4096, 10, -1, SMOOTH);
  }
  lineCase('one line of 1e6, sigma 0.5, lambda 1', steps(1, 1_000_000, 0.5, 3), 1, 1_000_000, 1, -1, NOISY);
}

/** Forward and backward, in x and lambda, through the public call. */
function paperWorkload(): void {
  const x = tidy(() => ops.cast(tensor(steps(8192, 32, 0.3, 4), { shape: [256, 32, 32] }), 'float32'));
  const lambda = tensor(1);
  const forward = (): void => tidy(() => void tv.prox1d(x, lambda));
  const both = (): void => tidy(() => void grad((v: { x: Tensor; l: Tensor }) => ops.sum(tv.prox1d(v.x, v.l)))({ x, l: lambda }));
  const times = race({ forward, both });
  const [f, b] = [median(times.forward as number[]), median(times.both as number[])];
  if (args.json) console.log(JSON.stringify({ case: 'paper workload 256×32×32', threads, forward_ms: f, backward_ms: b - f, total_ms: b }));
  else {
    console.log(
      `${threads} thread(s)  256×32×32, lambda 1: forward ${f.toFixed(3)} ms, backward ${(b - f).toFixed(3)} ms, both ${b.toFixed(3)} ms`,
    );
    console.log(
      '  Yeh et al. 2022, Table 1 (ms, forward + backward): CVXPYLayers 20704 + 9932, proxTV 207.8 + 430.7, theirs on an A6000 10.0 + 7.3',
    );
  }
}

function twoDimensional(): void {
  const picture = data.addGaussianNoise(data.deadLeaves({ height: 512, width: 512, channels: 1, seed: 5 }), 25 / 255, 6);
  const x64 = tidy(() => ops.cast(tensor(picture.data, { shape: [512, 512] }), 'float64'));
  const x32 = ops.cast(x64, 'float32');
  const plain = x64.toTypedArray() as Float64Array;
  const y = new Float64Array(512 * 512);
  for (const lambda of [0.02, 0.05, 0.1, 0.2, 1]) {
    const optimum = tidy(() => tv.solve2d(x64, lambda, { exact: true }).objective[0] as number);
    const scalar = tensor(lambda);
    const objective = (image: Float64Array): number =>
      tidy(() => {
        const t = TensorClass.from(image, [512, 512]);
        return 0.5 * ops.sum(ops.square(ops.sub(t, x64))).item() + lambda * tv.totalVariation(t).item();
      });
    const contestants: Record<string, () => void> = {
      'gap 1e-4': () => tidy(() => void tv.prox2d(x32, lambda, { tolerance: 1e-4 })),
      'gap 1e-6': () => tidy(() => void tv.prox2d(x32, lambda, { tolerance: 1e-6 })),
      exact: () => tidy(() => void tv.prox2d(x32, lambda, { exact: true })),
      'exact, float64': () => tidy(() => void tv.prox2d(x64, lambda, { exact: true })),
      // The gradient in x and lambda: the exact solution, then averages over its components.
      'exact, gradient': () =>
        tidy(() => void grad((v: { x: Tensor; l: Tensor }) => ops.sum(ops.square(tv.prox2d(v.x, v.l))))({ x: x32, l: scalar })),
    };
    // proxTV is column-major: the transposed problem has the same solution, transposed.
    if (proxTv) contestants.proxTV = () => proxTv.dr2(plain, 512, 512, lambda, y, threads, 35);
    const times = race(contestants);
    const peer = times.proxTV ? median(times.proxTV) : null;
    const excess = proxTv ? (objective(y) - optimum) / optimum : null;
    for (const [name, t] of Object.entries(times)) {
      const ms = median(t);
      if (args.json)
        console.log(
          JSON.stringify({
            case: `2D 512² lambda ${lambda}: ${name}`,
            threads,
            ms,
            ratio: peer === null ? null : peer / ms,
            peer_excess: excess,
          }),
        );
      else
        console.log(
          `${threads} thread(s)  512² lambda ${String(lambda).padEnd(5)} ${name.padEnd(18)} ${ms.toFixed(1).padStart(8)} ms` +
            (name === 'proxTV'
              ? `  relative excess ${excess?.toExponential(1)}`
              : peer === null
                ? ''
                : `  proxTV's time / ours ${(peer / ms).toFixed(2)}`),
        );
    }
  }
  fourMegapixels();
  const batch = tidy(() => {
    const images = Array.from({ length: 64 }, (_, i) =>
      data.addGaussianNoise(data.deadLeaves({ height: 96, width: 96, channels: 1, seed: 100 + i }), 25 / 255, i),
    );
    return ops.stack(images.map((image) => tensor(image.data, { shape: [96, 96] })));
  });
  const singles = Array.from({ length: 64 }, (_, i) => Float64Array.from(batch.toTypedArray().subarray(i * 96 * 96, (i + 1) * 96 * 96)));
  const out = new Float64Array(96 * 96);
  const times = race({
    ours: () => tidy(() => void tv.prox2d(batch, 0.1, { tolerance: 1e-6 })),
    ...(proxTv && {
      proxTV: () => {
        for (const single of singles) proxTv.dr2(single, 96, 96, 0.1, out, threads, 35);
      },
    }),
  });
  const ours = median(times.ours as number[]);
  const peer = times.proxTV ? median(times.proxTV) : null;
  if (args.json)
    console.log(
      JSON.stringify({ case: '64 images of 96², lambda 0.1, gap 1e-6', threads, ms: ours, ratio: peer === null ? null : peer / ours }),
    );
  else
    console.log(
      `${threads} thread(s)  64 images of 96², lambda 0.1, gap 1e-6: ${ours.toFixed(1)} ms${peer === null ? '' : `, proxTV ${peer.toFixed(1)} ms, ratio ${(peer / ours).toFixed(2)}`}`,
    );
}

/** 2048², dead leaves with noise: exact. proxTV takes about a quarter of a minute and is left to its 512². */
function fourMegapixels(): void {
  const picture = data.addGaussianNoise(data.deadLeaves({ height: 2048, width: 2048, channels: 1, seed: 7 }), 25 / 255, 8);
  const x = tensor(picture.data, { shape: [2048, 2048] });
  for (const lambda of [0.05, 0.1]) {
    const start = performance.now();
    const relativeGap = tidy(() => tv.solve2d(x, lambda, { exact: true }).relativeGap[0] as number);
    const ms = performance.now() - start;
    if (args.json) console.log(JSON.stringify({ case: `2D 2048² lambda ${lambda}: exact`, threads, ms, relative_gap: relativeGap }));
    else
      console.log(
        `${threads} thread(s)  2048² lambda ${lambda} exact: ${(ms / 1000).toFixed(2)} s, relative gap ${relativeGap.toExponential(1)}`,
      );
  }
  x.dispose();
}

if (args.child === undefined) {
  for (const n of args.threads.split(',')) {
    // The size of the thread pool is fixed when the process starts.
    spawnSync(process.execPath, [fileURLToPath(import.meta.url), ...process.argv.slice(2), '--child', n], {
      stdio: 'inherit',
      env: { ...process.env, TAUTGRAD_THREADS: n, OMP_NUM_THREADS: n },
    });
  }
} else {
  if (args.only === undefined || args.only === '1d') oneDimensional();
  if (args.only === undefined || args.only === 'paper') paperWorkload();
  if (args.only === undefined || args.only === '2d') twoDimensional();
}
