/**
 * The engine against PyTorch on the CPU: convolutions in all three directions, layers forward and
 * backward, and whole training steps.
 *
 *   npm run bench:engine [-- --threads 1,2 --repeat 9 --only 'step|16→16' --alone --json]
 *
 * --only is a regular expression over the names of the cases. --alone leaves PyTorch out: for the gain of a
 * second thread. The first calls of a case warm both sides up and are not counted.
 *
 * PyTorch runs in a python3 of its own (Debian's python3-torch); both take turns. A turn is a pause, in which the other side's waiting
 * threads leave the cores (OpenMP's spin for milliseconds after a call), one call that is not counted, and calls for about 4 ms. Medians of
 * the turns; the ratio is PyTorch's time over ours. Without PyTorch only our times are printed.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { memory, models, nn, ops, optim, randn, type Tensor, tidy } from 'tautgrad';
import { layerCases, prepareLayer } from './engine/layers.js';

const { values: args } = parseArgs({
  options: {
    threads: { type: 'string', default: '1,2' },
    repeat: { type: 'string', default: '9' },
    only: { type: 'string', default: '' },
    alone: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    child: { type: 'string' },
  },
});

export interface Case {
  name: string;
  kind: 'conv' | 'layer' | 'step';
  /** Floating-point operations of one call. */
  flop: number;
  [key: string]: string | number | boolean;
}

interface Row {
  case: string;
  threads: number;
  ours_ms: number;
  gflops: number;
  peer: string;
  peer_ms: number | null;
  ratio: number | null;
}

interface Shape {
  n: number;
  cin: number;
  cout: number;
  /** Of the input. */
  size: number;
  stride?: number;
  transposed?: boolean;
  /** Default 3. */
  kernel?: number;
  /** One kernel per channel. */
  depthwise?: boolean;
}

function convCases(): Case[] {
  const shapes: Shape[] = [
    { n: 1, cin: 32, cout: 32, size: 256 },
    { n: 8, cin: 16, cout: 16, size: 96 },
    { n: 8, cin: 64, cout: 64, size: 64 },
    { n: 8, cin: 3, cout: 64, size: 128 },
    { n: 4, cin: 32, cout: 32, size: 128, stride: 2 },
    { n: 4, cin: 32, cout: 32, size: 64, stride: 2, transposed: true },
    // The layers of total deep variation: three scales, and the blurs between them.
    { n: 1, cin: 32, cout: 32, size: 128 },
    { n: 1, cin: 32, cout: 32, size: 64 },
    { n: 1, cin: 32, cout: 32, size: 32 },
    { n: 1, cin: 32, cout: 32, size: 128, stride: 2 },
    { n: 1, cin: 32, cout: 32, size: 128, depthwise: true },
    { n: 1, cin: 32, cout: 32, size: 128, kernel: 5, depthwise: true },
    { n: 1, cin: 32, cout: 32, size: 128, stride: 2, depthwise: true },
    { n: 1, cin: 32, cout: 32, size: 128, kernel: 5, stride: 2, depthwise: true },
  ];
  return shapes.flatMap(({ n, cin, cout, size, stride = 1, transposed = false, kernel = 3, depthwise = false }) =>
    ['forward', 'data', 'weights'].map((direction): Case => {
      const groups = depthwise ? cin : 1;
      const pixels = transposed ? n * size * size : (n * size * size) / (stride * stride);
      const kind = `${transposed ? 'transposed ' : ''}${depthwise ? 'depthwise ' : ''}conv`;
      const name = `${kind} ${n}×${cin}→${cout} ${size}×${size}${kernel === 3 ? '' : ` ${kernel}×${kernel}`}${stride > 1 ? ` /${stride}` : ''} ${direction}`;
      const flop = (2 * kernel * kernel * cin * cout * pixels) / groups;
      return { name, kind: 'conv', flop, n, cin, cout, h: size, w: size, stride, transposed, kernel, groups, direction };
    }),
  );
}

const stepCases: Case[] = [
  { name: 'DnCNN-17 training step, 8×64×64', kind: 'step', model: 'dncnn', flop: 3 * 2 * 9 * (15 * 64 * 64 + 128) * 8 * 64 * 64 },
  {
    name: 'DnCNN-17 with batch norm training step, 8×64×64',
    kind: 'step',
    model: 'dncnn-bn',
    flop: 3 * 2 * 9 * (15 * 64 * 64 + 128) * 8 * 64 * 64,
  },
  { name: 'U-Net 17/34/68 training step, 8×64×64', kind: 'step', model: 'unet', flop: 0 },
];

/** DnCNN with batch norm as Zhang et al. 2017 have it: convolutions between batch norms have no bias. */
class NormalizedDnCNN extends nn.Module {
  readonly body: nn.Sequential;

  constructor() {
    super();
    const layers: nn.Module[] = [conv(1, 64), new nn.ReLU()];
    for (let i = 2; i < 17; i++) {
      const hidden = new nn.Conv2d({ inChannels: 64, outChannels: 64, kernelSize: 3, padding: 1, bias: false });
      layers.push(hidden, new nn.BatchNorm2d({ channels: 64 }), new nn.ReLU());
    }
    this.body = new nn.Sequential(...layers, conv(64, 1));
  }

  override forward(x: Tensor): Tensor {
    return tidy(() => ops.add(this.body.forward(x), x));
  }
}

/** The same U-Net as on PyTorch's side. */
class UNet extends nn.Module {
  readonly e1 = conv(1, 17);
  readonly d1 = conv(17, 34, 2);
  readonly e2 = conv(34, 34);
  readonly d2 = conv(34, 68, 2);
  readonly m = conv(68, 68);
  readonly u2 = up(68, 34);
  readonly f2 = conv(68, 34);
  readonly u1 = up(34, 17);
  readonly f1 = conv(34, 17);
  readonly out = conv(17, 1);

  override forward(x: Tensor): Tensor {
    return tidy(() => {
      const a = this.e1.forwardRelu(x);
      const b = this.e2.forwardRelu(this.d1.forwardRelu(a));
      const m = this.m.forwardRelu(this.d2.forwardRelu(b));
      const b2 = this.f2.forwardRelu(ops.concat([ops.relu(this.u2.forward(m)), b], 1));
      const a2 = this.f1.forwardRelu(ops.concat([ops.relu(this.u1.forward(b2)), a], 1));
      return ops.add(this.out.forward(a2), x);
    });
  }
}

function conv(inChannels: number, outChannels: number, stride = 1): nn.Conv2d {
  return new nn.Conv2d({ inChannels, outChannels, kernelSize: 3, padding: 1, stride });
}

function up(inChannels: number, outChannels: number): nn.ConvTranspose2d {
  return new nn.ConvTranspose2d({ inChannels, outChannels, kernelSize: 3, stride: 2, padding: 1, outputPadding: 1 });
}

const networks: Record<string, () => nn.Module> = {
  dncnn: () => new models.tvlayers.DnCNN({ depth: 17, features: 64 }),
  'dncnn-bn': () => new NormalizedDnCNN(),
  unet: () => new UNet(),
};

/** One call of a case, ready to be repeated. */
function prepare(c: Case): () => void {
  if (c.kind === 'layer') return prepareLayer(c);
  if (c.kind === 'step') {
    const model = networks[c.model as string]!();
    const adam = new optim.Adam(model.namedParameters());
    const [x, target] = [randn([8, 1, 64, 64]), randn([8, 1, 64, 64])];
    return () => tidy(() => adam.step(nn.valueAndGrad(model, () => ops.mean(ops.square(ops.sub(model.forward(x), target)))).gradients));
  }
  const [n, cin, cout, h, w, stride] = [c.n, c.cin, c.cout, c.h, c.w, c.stride] as [number, number, number, number, number, number];
  const [k, groups] = [c.kernel, c.groups] as [number, number];
  const geometry = (x: readonly number[], wt: readonly number[], y: readonly number[]): ops.ConvGeometry => ({
    x,
    w: wt,
    y,
    stride: [stride, stride],
    padLow: [(k - 1) / 2, (k - 1) / 2],
    dilation: [1, 1],
    groups,
  });
  // A transposed convolution is the data gradient of a convolution from cout to cin, and the other way round.
  const g = c.transposed
    ? geometry([n, cout, h * stride, w * stride], [cin, cout / groups, k, k], [n, cin, h, w])
    : geometry([n, cin, h, w], [cout, cin / groups, k, k], [n, cout, h / stride, w / stride]);
  const [x, wt, y] = [randn(g.x), randn(g.w), randn(g.y)];
  const kernel = c.direction === 'weights' ? 'w' : (c.direction === 'forward') === c.transposed ? 'x' : 'y';
  return () =>
    tidy(() => {
      if (kernel === 'w') ops.convWeightsPrimitive.kernel([x, y], g);
      else if (kernel === 'x') ops.convDataPrimitive.kernel([y, wt], g);
      else ops.convForwardPrimitive.kernel([x, wt], g);
    });
}

const PAUSE_MS = 10;

/** PyTorch in a process of its own; each request is one turn. */
class Torch {
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(threads: number) {
    const script = fileURLToPath(new URL('../../bench/peers/torch_engine.py', import.meta.url));
    this.#process = spawn('/usr/bin/python3', [script, String(threads)], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, OMP_NUM_THREADS: String(threads) },
    });
    this.#lines = createInterface({ input: this.#process.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
  }

  /** The mean of `calls` calls in a row, after one that is not counted. */
  async run(c: Case, calls: number): Promise<{ ms: number; rssMB: number }> {
    this.#process.stdin?.write(`${JSON.stringify({ ...c, calls })}\n`);
    return JSON.parse((await this.#lines.next()).value as string) as { ms: number; rssMB: number };
  }

  stop(): void {
    this.#process.stdin?.end();
  }
}

/** GFLOP/s of multiply-adds on one core, measured; null without a compiler. */
function measurePeak(): number | null {
  const folder = mkdtempSync(join(tmpdir(), 'tautgrad-peak-'));
  try {
    const source = fileURLToPath(new URL('../../bench/peers/fma_peak.cpp', import.meta.url));
    const built = spawnSync('g++', ['-O3', '-march=native', source, '-o', join(folder, 'peak')]);
    return built.status === 0 ? Number.parseFloat(spawnSync(join(folder, 'peak'), { encoding: 'utf8' }).stdout) : null;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const hasTorch = (): boolean => spawnSync('/usr/bin/python3', ['-c', 'import torch']).status === 0;
const median = (v: number[]): number => [...v].sort((a, b) => a - b)[Math.floor(v.length / 2)] as number;

async function measure(threads: number): Promise<void> {
  const peak = measurePeak();
  if (peak !== null && !args.json) console.log(`multiply-add peak of one core: ${peak.toFixed(0)} GFLOP/s`);
  const torch = !args.alone && hasTorch() ? new Torch(threads) : null;
  if (!torch && !args.alone) console.error('PyTorch is not installed (Debian: python3-torch): only our times follow');
  const only = new RegExp(args.only, 'u');
  for (const c of [...convCases(), ...layerCases, ...stepCases].filter((c) => only.test(c.name))) {
    const call = prepare(c);
    // Calls until the caches are warm and the calling code is compiled.
    for (let k = 0; k < (c.kind === 'step' ? 3 : 10); k++) call();
    for (let k = 0; torch && k < 3; k++) await torch.run(c, 1);
    const once = performance.now();
    call();
    const calls = Math.max(1, Math.min(50, Math.ceil(4 / (performance.now() - once))));
    const [ours, theirs]: [number[], number[]] = [[], []];
    let rss = 0;
    for (let k = 0; k < Number(args.repeat); k++) {
      if (torch) await setTimeout(PAUSE_MS);
      call();
      const start = performance.now();
      for (let i = 0; i < calls; i++) call();
      ours.push((performance.now() - start) / calls);
      if (torch) {
        await setTimeout(PAUSE_MS);
        const answer = await torch.run(c, calls);
        theirs.push(answer.ms);
        rss = answer.rssMB;
      }
    }
    const peer = torch ? median(theirs) : null;
    const row: Row = {
      case: c.name,
      threads,
      ours_ms: median(ours),
      gflops: c.flop / median(ours) / 1e6,
      peer: 'PyTorch',
      peer_ms: peer,
      ratio: peer === null ? null : peer / median(ours),
    };
    if (args.json) console.log(JSON.stringify(row));
    else {
      const rate =
        c.flop > 0
          ? `${row.gflops.toFixed(0).padStart(5)} GFLOP/s${peak === null ? '' : ` (${((100 * row.gflops) / peak / threads).toFixed(0).padStart(3)} % of peak)`}`
          : ''.padStart(13);
      console.log(
        `${String(threads)} thread(s)  ${c.name.padEnd(44)} ${row.ours_ms.toFixed(2).padStart(9)} ms ${rate}` +
          (peer === null ? '' : `  PyTorch ${peer.toFixed(2).padStart(9)} ms  ratio ${(row.ratio as number).toFixed(2)}`),
      );
      if (c.kind === 'step')
        console.log(
          `             memory: pool ${((memory().bytes + memory().cachedBytes) / 2 ** 20).toFixed(0)} MB, our process ${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MB, PyTorch's ${rss.toFixed(0)} MB`,
        );
    }
  }
  torch?.stop();
}

if (args.child !== undefined) await measure(Number(args.child));
else {
  for (const threads of args.threads.split(',')) {
    // The size of the thread pool is fixed when the process starts.
    spawnSync(process.execPath, [fileURLToPath(import.meta.url), ...process.argv.slice(2), '--child', threads], {
      stdio: 'inherit',
      env: { ...process.env, TAUTGRAD_THREADS: threads },
    });
  }
}
