/**
 * Linear operators of inverse problems: the Radon transform against scikit-image, the Fourier transform against NumPy and SciPy.
 *
 *   npm run bench -- inverse [--threads 1,2 --size 512 --views 180 --repeat 7 --peer-repeat 1 --json]
 *
 * The peers run in a python3 of its own (Debian's python3-skimage, python3-scipy) and take turns with us. Medians; the ratio is the
 * peer's time over ours. scikit-image's radon (a rotation by interpolation and a sum per view) runs on one thread; its back-projection is
 * iradon without a filter.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { inverse, ops, randn, type Tensor, tidy } from 'tautgrad';

const { values: args } = parseArgs({
  options: {
    threads: { type: 'string', default: '1,2' },
    size: { type: 'string', default: '512' },
    views: { type: 'string', default: '180' },
    repeat: { type: 'string', default: '7' },
    'peer-repeat': { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
    child: { type: 'string' },
  },
});

interface Case {
  name: string;
  kind: 'radon' | 'fft';
  peer: 'scikit-image' | 'numpy' | 'scipy';
  size: number;
  views: number;
  batch: number;
  direction: 'forward' | 'adjoint';
  /** What the time is divided by: pixels times views, or pixels. */
  units: number;
  repeats: number;
}

function cases(): Case[] {
  const [size, views] = [Number(args.size), Number(args.views)];
  const radon = (['forward', 'adjoint'] as const).map((direction): Case => {
    const name = `radon ${direction} ${size}² × ${views} views`;
    const repeats = Number(args['peer-repeat']);
    return { name, kind: 'radon', peer: 'scikit-image', size, views, batch: 1, direction, units: size * size * views, repeats };
  });
  const fft = [256, 320].flatMap((n) =>
    (['numpy', 'scipy'] as const).map((peer): Case => {
      const name = `fft2 8 × ${n}² complex, ${peer}`;
      return { name, kind: 'fft', peer, size: n, views: 0, batch: 8, direction: 'forward', units: 8 * n * n, repeats: Number(args.repeat) };
    }),
  );
  return [...radon, ...fft];
}

function prepare(c: Case): () => void {
  if (c.kind === 'fft') {
    const z = { re: randn([c.batch, c.size, c.size]), im: randn([c.batch, c.size, c.size]) };
    return () => {
      tidy(() => {
        ops.fft(z, { axes: [-2, -1], norm: 'ortho' });
      });
    };
  }
  const operator = inverse.radon([c.size, c.size], { angles: c.views });
  const argument = randn(c.direction === 'forward' ? operator.inputShape : operator.outputShape);
  const call = (x: Tensor): Tensor => (c.direction === 'forward' ? operator.apply(x) : operator.adjoint(x));
  return () => call(argument).dispose();
}

/** The peers in a process of their own; each request is one call. */
class Peer {
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(threads: number) {
    const script = fileURLToPath(new URL('../../bench/peers/imaging.py', import.meta.url));
    this.#process = spawn('/usr/bin/python3', [script, String(threads)], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.#process.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
  }

  async run(c: Case): Promise<number> {
    this.#process.stdin?.write(`${JSON.stringify(c)}\n`);
    return (JSON.parse((await this.#lines.next()).value as string) as { ms: number }).ms;
  }

  stop(): void {
    this.#process.stdin?.end();
  }
}

const hasPeers = (): boolean => spawnSync('/usr/bin/python3', ['-c', 'import skimage, scipy']).status === 0;
const median = (v: number[]): number => [...v].sort((a, b) => a - b)[Math.floor(v.length / 2)] as number;

async function measure(threads: number): Promise<void> {
  const peer = hasPeers() ? new Peer(threads) : null;
  if (!peer) console.error('scikit-image and SciPy are not installed (Debian: python3-skimage): only our times follow');
  for (const c of cases()) {
    const call = prepare(c);
    call();
    const [ours, theirs]: [number[], number[]] = [[], []];
    for (let k = 0; k < Number(args.repeat); k++) {
      const start = performance.now();
      call();
      ours.push(performance.now() - start);
      if (peer && k < c.repeats) theirs.push(await peer.run(c));
    }
    const [us, them] = [median(ours), peer ? median(theirs) : null];
    const row = { case: c.name, threads, ours_ms: us, ns: (us * 1e6) / c.units, peer: c.peer, peer_ms: them, ratio: them && them / us };
    if (args.json) console.log(JSON.stringify(row));
    else {
      const unit = c.kind === 'radon' ? 'ns per pixel and view' : 'ns per pixel';
      const beside = them === null ? '' : `  ${c.peer} ${them.toFixed(1).padStart(8)} ms  ratio ${(them / us).toFixed(2)}`;
      console.log(`${threads} thread(s)  ${c.name.padEnd(36)} ${us.toFixed(2).padStart(7)} ms  ${row.ns.toFixed(3)} ${unit}${beside}`);
    }
  }
  peer?.stop();
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
