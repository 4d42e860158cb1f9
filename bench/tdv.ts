/**
 * Total deep variation against PyTorch running the same network (bench/peers/torch_tdv.py) on the CPU.
 *
 *   npm run bench -- tdv --weights tdv3-25-gray.safetensors [--case gradient,denoise,train,large --threads 1 --repeat 5 --json]
 *
 * PyTorch runs in a python3 of its own (Debian's python3-torch); both take turns, call by call. Medians; the ratio is PyTorch's time over
 * ours. Memory is the peak of each process, a fresh one per case. `large` (512², by default on two threads) has no peer. `--profile`
 * prints where our time goes by primitive.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Generator, models, nn, ops, optim, tidy } from 'tautgrad';

const { values: args } = parseArgs({
  options: {
    weights: { type: 'string' },
    case: { type: 'string', default: 'gradient,denoise,train,large' },
    threads: { type: 'string', default: '1' },
    repeat: { type: 'string', default: '5' },
    size: { type: 'string', default: '128' },
    steps: { type: 'string', default: '10' },
    blur: { type: 'string', default: 'composite' },
    json: { type: 'boolean', default: false },
    peer: { type: 'boolean', default: true },
    profile: { type: 'boolean', default: false },
    child: { type: 'string' },
  },
  allowNegative: true,
});

if (args.weights === undefined) throw new Error('Expected --weights FILE, the published gray weights, but received none');
const weights = args.weights;
const median = (v: number[]): number => [...v].sort((a, b) => a - b)[Math.floor(v.length / 2)] as number;
const spread = (v: number[]): string => `${Math.min(...v).toFixed(0)}–${Math.max(...v).toFixed(0)}`;

class Torch {
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor() {
    const script = fileURLToPath(new URL('../../bench/peers/torch_tdv.py', import.meta.url));
    this.#process = spawn('/usr/bin/python3', [script, args.threads], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, OMP_NUM_THREADS: args.threads },
    });
    this.#lines = createInterface({ input: this.#process.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
  }

  async ask(request: object): Promise<{ ms: number; rssMB: number; value: number }> {
    this.#process.stdin?.write(`${JSON.stringify(request)}\n`);
    return JSON.parse((await this.#lines.next()).value as string) as { ms: number; rssMB: number; value: number };
  }

  stop(): void {
    this.#process.stdin?.end();
  }
}

/** Times every kernel call by the name of its primitive. */
function profiler(): { report(): void } {
  const table = new Map<string, { ms: number; calls: number }>();
  for (const [name, value] of Object.entries(ops)) {
    if (!name.endsWith('Primitive')) continue;
    const primitive = value as { name: string; kernel: (...a: unknown[]) => unknown };
    const { kernel } = primitive;
    primitive.kernel = (...a) => {
      const start = performance.now();
      const result = kernel(...a);
      const entry = table.get(primitive.name) ?? { ms: 0, calls: 0 };
      entry.ms += performance.now() - start;
      entry.calls++;
      table.set(primitive.name, entry);
      return result;
    };
  }
  return {
    report: () => {
      for (const [name, { ms, calls }] of [...table].sort((a, b) => b[1].ms - a[1].ms)) {
        console.log(`  ${name.padEnd(22)} ${String(calls).padStart(6)} calls ${ms.toFixed(1).padStart(9)} ms`);
      }
      table.clear();
    },
  };
}

async function measure(name: string): Promise<void> {
  const large = name === 'large';
  const n = large ? 512 : Number(args.size);
  const steps = Number(args.steps);
  const network = await models.tdv.loadNetwork(weights, { steps });
  const adam = new optim.Adam(network.namedParameters(), { learningRate: 0 });
  const [y, z] = [new Generator(1).uniform([1, 1, n, n]), new Generator(2).uniform([1, 1, n, n])];
  const call = (): void => {
    tidy(() => {
      if (name === 'train') {
        const loss = () => ops.mul(ops.sum(ops.square(ops.sub(network.run(z), y))), 0.5);
        adam.step(nn.valueAndGrad(network, loss).gradients);
      } else if (name === 'gradient') network.R.gradient(z);
      else network.run(z);
    });
  };
  const torch = args.peer && !large ? new Torch() : null;
  await torch?.ask({ op: 'load', weights });
  const request = { op: name, n, steps, blur: args.blur };
  const profile = args.profile ? profiler() : null;
  const [ours, theirs]: [number[], number[]] = [[], []];
  let rss = 0;
  if (name !== 'train') {
    call();
    await torch?.ask(request);
  }
  for (let k = 0; k < Number(args.repeat); k++) {
    const start = performance.now();
    call();
    ours.push(performance.now() - start);
    if (torch) {
      const answer = await torch.ask(request);
      theirs.push(answer.ms);
      rss = answer.rssMB;
    }
  }
  torch?.stop();
  const ourRss = process.resourceUsage().maxRSS / 1024;
  const row = {
    case: `${name} ${n}²${name === 'gradient' ? '' : `, S = ${steps}`}`,
    threads: Number(process.env.TAUTGRAD_THREADS),
    ours_ms: median(ours),
    ours_rss_mb: ourRss,
    peer: torch ? 'PyTorch' : null,
    peer_ms: torch ? median(theirs) : null,
    peer_rss_mb: torch ? rss : null,
    ratio: torch ? median(theirs) / median(ours) : null,
  };
  if (args.json) console.log(JSON.stringify(row));
  else {
    const peer =
      row.peer_ms === null
        ? ''
        : `  PyTorch ${row.peer_ms.toFixed(0)} ms (${spread(theirs)}), ${rss.toFixed(0)} MB: ${row.ratio?.toFixed(2)} times faster, memory 1 / ${(rss / ourRss).toFixed(1)}`;
    console.log(
      `${row.threads} thread(s)  ${row.case.padEnd(22)} ${row.ours_ms.toFixed(0).padStart(6)} ms (${spread(ours)}), ${ourRss.toFixed(0)} MB${peer}`,
    );
  }
  profile?.report();
}

if (args.child !== undefined) await measure(args.child);
else {
  for (const name of args.case.split(',')) {
    // The size of the thread pool is fixed when the process starts, and the peak of its memory is never forgotten.
    const threads = name === 'large' && args.threads === '1' ? '2' : args.threads;
    spawnSync(process.execPath, [fileURLToPath(import.meta.url), ...process.argv.slice(2), '--child', name], {
      stdio: 'inherit',
      env: { ...process.env, TAUTGRAD_THREADS: threads },
    });
  }
}
