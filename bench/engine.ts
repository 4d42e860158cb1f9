/**
 * The engine against PyTorch on the CPU: convolutions in all three directions, and whole training steps.
 *
 *   npm run bench:engine [-- --threads 1,2 --repeat 9 --json]
 *
 * PyTorch runs in a python3 of its own (Debian's python3-torch); both take turns, call by call. Medians; the ratio is PyTorch's time over
 * ours. Without PyTorch only our times are printed.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { memory, models, nn, ops, optim, randn, type Tensor, tidy } from 'tautgrad';

const { values: args } = parseArgs({
  options: {
    threads: { type: 'string', default: '1,2' },
    repeat: { type: 'string', default: '9' },
    json: { type: 'boolean', default: false },
    child: { type: 'string' },
  },
});

interface Case {
  name: string;
  kind: 'conv' | 'step';
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

function convCases(): Case[] {
  const shapes: [number, number, number, number, number, number, boolean][] = [
    [1, 32, 32, 256, 256, 1, false],
    [8, 16, 16, 96, 96, 1, false],
    [8, 64, 64, 64, 64, 1, false],
    [8, 3, 64, 128, 128, 1, false],
    [4, 32, 32, 128, 128, 2, false],
    [4, 32, 32, 64, 64, 2, true],
  ];
  return shapes.flatMap(([n, cin, cout, h, w, stride, transposed]) =>
    ['forward', 'data', 'weights'].map((direction): Case => {
      const pixels = transposed ? n * h * w : (n * h * w) / (stride * stride);
      const name = `${transposed ? 'transposed ' : ''}conv ${n}×${cin}→${cout} ${h}×${w}${stride > 1 ? ` /${stride}` : ''} ${direction}`;
      return { name, kind: 'conv', flop: 2 * 9 * cin * cout * pixels, n, cin, cout, h, w, stride, transposed, direction };
    }),
  );
}

const stepCases: Case[] = [
  { name: 'DnCNN-17 training step, 8×64×64', kind: 'step', model: 'dncnn', flop: 3 * 2 * 9 * (15 * 64 * 64 + 128) * 8 * 64 * 64 },
  { name: 'U-Net 17/34/68 training step, 8×64×64', kind: 'step', model: 'unet', flop: 0 },
];

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

/** One call of a case, ready to be repeated. */
function prepare(c: Case): () => void {
  if (c.kind === 'step') {
    const model = c.model === 'unet' ? new UNet() : new models.tvlayers.DnCNN({ depth: 17, features: 64 });
    const adam = new optim.Adam(model.namedParameters());
    const [x, target] = [randn([8, 1, 64, 64]), randn([8, 1, 64, 64])];
    return () => tidy(() => adam.step(nn.valueAndGrad(model, () => ops.mean(ops.square(ops.sub(model.forward(x), target)))).gradients));
  }
  const [n, cin, cout, h, w, stride] = [c.n, c.cin, c.cout, c.h, c.w, c.stride] as [number, number, number, number, number, number];
  const geometry = (x: readonly number[], wt: readonly number[], y: readonly number[]): ops.ConvGeometry => ({
    x,
    w: wt,
    y,
    stride: [stride, stride],
    padLow: [1, 1],
    dilation: [1, 1],
    groups: 1,
  });
  // A transposed convolution is the data gradient of a convolution from cout to cin, and the other way round.
  const g = c.transposed
    ? geometry([n, cout, h * stride, w * stride], [cin, cout, 3, 3], [n, cin, h, w])
    : geometry([n, cin, h, w], [cout, cin, 3, 3], [n, cout, h / stride, w / stride]);
  const [x, wt, y] = [randn(g.x), randn(g.w), randn(g.y)];
  const kernel = c.direction === 'weights' ? 'w' : (c.direction === 'forward') === c.transposed ? 'x' : 'y';
  return () =>
    tidy(() => {
      if (kernel === 'w') ops.convWeightsPrimitive.kernel([x, y], g);
      else if (kernel === 'x') ops.convDataPrimitive.kernel([y, wt], g);
      else ops.convForwardPrimitive.kernel([x, wt], g);
    });
}

/** PyTorch in a process of its own; each request is one call. */
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

  async run(c: Case): Promise<{ ms: number; rssMB: number }> {
    this.#process.stdin?.write(`${JSON.stringify(c)}\n`);
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
  const torch = hasTorch() ? new Torch(threads) : null;
  if (!torch) console.error('PyTorch is not installed (Debian: python3-torch): only our times follow');
  for (const c of [...convCases(), ...stepCases]) {
    const call = prepare(c);
    call();
    const [ours, theirs]: [number[], number[]] = [[], []];
    let rss = 0;
    for (let k = 0; k < Number(args.repeat); k++) {
      const start = performance.now();
      call();
      ours.push(performance.now() - start);
      if (torch) {
        const answer = await torch.run(c);
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
