/**
 * The model-driven total-variation flow of 96×96 images at 50 times (0, 0.02 … 0.98; grey values 0 … 5), as in Table 2 of Grossmann et al.
 *
 *   npm run bench -- flow [--part image,peer,steps,batch --image FILE --size 96 --batch 200 --repeat 9 --python /usr/bin/python3]
 *
 * image: our solver at several gaps, and Chambolle's projection and lagged diffusivity of ours; peer: scikit-image's denoise_tv_chambolle, one call a step,
 * with a fixed number of projections and with its stopping rule, in a process of its own that takes turns with us at the gap that is at least as accurate; steps:
 * steps chosen by accuracy, against a flow with 32 times finer steps; batch: many images at once. Decibels are of the whole stack, data range 5, against the same
 * steps solved in double to a relative gap of 1e-10. Medians.
 * Without an image: dead leaves. The middle of the image is taken.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { data, devices, ops, type Tensor, tensor, tidy, tv } from 'tautgrad';

const { values: args } = parseArgs({
  options: {
    part: { type: 'string', default: 'image,peer,steps,batch' },
    image: { type: 'string' },
    size: { type: 'string', default: '96' },
    batch: { type: 'string', default: '200' },
    repeat: { type: 'string', default: '9' },
    python: { type: 'string', default: '/usr/bin/python3' },
  },
});
const [size, repeat] = [Number(args.size), Number(args.repeat)];
const [RANGE, STEP, COUNT] = [5, 0.02, 49];
const times = Array.from({ length: COUNT + 1 }, (_, k) => k * STEP);
const grid = { times, step: STEP * (1 + 1e-9) };
const TOLERANCES = [1e-3, 1e-4, 1e-5, 1e-6];

const median = (v: number[]): number => [...v].sort((a, b) => a - b)[Math.floor(v.length / 2)] as number;
const decibels = (u: Tensor, v: Tensor): number =>
  tidy(() => -10 * Math.log10(ops.mean(ops.square(ops.sub(ops.cast(u, 'float64'), ops.cast(v, 'float64')))).item() / RANGE ** 2));

function time(run: () => void, repeats = repeat): number {
  run();
  return median(
    Array.from({ length: repeats }, () => {
      const start = performance.now();
      run();
      return performance.now() - start;
    }),
  );
}

async function image(seed: number): Promise<Tensor> {
  const { data: values } =
    args.image === undefined
      ? data.deadLeaves({ height: size, width: size, channels: 1, seed })
      : await data.readImage(args.image).then((read) => {
          const gray = data.toChannels(read, 1);
          return data.crop(gray, (gray.height - size) >> 1, (gray.width - size) >> 1, size, size);
        });
  return tensor(
    Float64Array.from(values, (v) => RANGE * v),
    { shape: [size, size] },
  );
}

const flowOf = (f: Tensor, options: object): Tensor => tv.flow(f, { ...grid, ...options }).u;
const reference = (f: Tensor): Tensor => flowOf(f, { tolerance: 1e-10, maxIterations: 200_000 });

const f = await image(1);
const f32 = ops.cast(f, 'float32');
const parts = args.part.split(',');
console.log(
  `${devices()[0]?.description}, ${devices()[0]?.threads} thread(s); ${args.image === undefined ? 'dead leaves' : 'the image'}, ${size}²`,
);
const best = reference(f);
console.log(`doing nothing, u(t) = f: ${decibels(ops.broadcastTo(f, best.shape), best).toFixed(1)} dB`);
/** Of our solver in float32, per tolerance. */
const accuracies = TOLERANCES.map((tolerance) => tidy(() => decibels(flowOf(f32, { tolerance }), best)));

if (parts.includes('image')) {
  for (const [name, x] of [
    ['float32', f32],
    ['float64', f],
  ] as const)
    TOLERANCES.forEach((tolerance, k) => {
      const ms = time(() => flowOf(x, { tolerance }).dispose());
      const accuracy = x === f32 ? (accuracies[k] as number) : tidy(() => decibels(flowOf(x, { tolerance }), best));
      console.log(`${name}, gap ${tolerance}: ${ms.toFixed(1)} ms, ${accuracy.toFixed(1)} dB`);
    });
  for (const [name, options] of [
    ["50 of Chambolle's projections from the last dual", { method: 'chambolle', iterations: 50 }],
    ["500 of Chambolle's projections from 0 (the paper's solver)", { method: 'chambolle', iterations: 500, warmStart: false }],
    ['lagged diffusivity, epsilon 1e-2', { method: 'lagged', epsilon: 1e-2 }],
    ['lagged diffusivity, epsilon 1e-3', { method: 'lagged', epsilon: 1e-3 }],
  ] as const) {
    const start = performance.now();
    const u = tidy(() => flowOf(f32, options));
    console.log(`${name}: ${(performance.now() - start).toFixed(0)} ms (once), ${decibels(u, best).toFixed(1)} dB`);
    u.dispose();
  }
}

/** scikit-image in a process of its own; each request is one flow. */
class Peer {
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(folder: string) {
    const script = fileURLToPath(new URL('../../bench/peers/flow_skimage.py', import.meta.url));
    this.#process = spawn(args.python, [script, folder], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.#process.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
  }

  async run(request: object): Promise<number> {
    this.#process.stdin?.write(`${JSON.stringify(request)}\n`);
    return (JSON.parse((await this.#lines.next()).value as string) as { ms: number }).ms;
  }

  stop(): void {
    this.#process.stdin?.end();
  }
}

if (parts.includes('peer')) {
  if (spawnSync(args.python, ['-c', 'import skimage']).status !== 0)
    console.log('skipped scikit-image: it is not installed for this python3');
  else {
    const folder = mkdtempSync(join(tmpdir(), 'flow-'));
    const peer = new Peer(folder);
    try {
      writeFileSync(join(folder, 'f.f64'), f.toTypedArray());
      for (const [eps, iterations] of [
        [2e-4, 200], // its defaults
        [1e-5, 10_000],
        [1e-6, 10_000],
        [1e-30, 20],
        [1e-30, 50],
        [1e-30, 100],
        [1e-30, 500],
      ] as const) {
        const request = { size, steps: COUNT, dt: STEP, eps, iterations, dtype: 'float32' };
        const turns = iterations === 500 ? 1 : 3;
        const theirs: number[] = [];
        const ours: number[] = [];
        let accuracy = 0;
        let tolerance = 0;
        for (let k = 0; k < turns; k++) {
          theirs.push(await peer.run(request));
          if (k === 0) {
            const bytes = readFileSync(join(folder, 'u.f64'));
            const u = tensor(new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)), {
              shape: [COUNT, size, size],
            });
            accuracy = tidy(() => decibels(ops.concat([ops.reshape(f, [1, size, size]), u], 0), best));
            u.dispose();
            tolerance = TOLERANCES[accuracies.findIndex((own) => own >= accuracy)] ?? 1e-6;
          }
          ours.push(time(() => flowOf(f32, { tolerance }).dispose(), 3));
        }
        const [them, us] = [median(theirs), median(ours)];
        const own = accuracies[TOLERANCES.indexOf(tolerance)] as number;
        console.log(
          `scikit-image, ${eps < 1e-20 ? `${iterations} projections a step` : `eps ${eps}, at most ${iterations}`}: ${them.toFixed(0)} ms, ${accuracy.toFixed(1)} dB; ` +
            `ours at a gap of ${tolerance}: ${us.toFixed(1)} ms, ${own.toFixed(1)} dB; ratio ${(them / us).toFixed(1)}`,
        );
      }
    } finally {
      peer.stop();
      rmSync(folder, { recursive: true });
    }
  }
}

if (parts.includes('steps')) {
  const fine = flowOf(f, { step: STEP / 32, tolerance: 1e-8 });
  const extent = tidy(() => ops.sub(ops.max(f), ops.min(f)).item());
  const rms = (u: Tensor): number => RANGE * 10 ** (-decibels(u, fine) / 20);
  const show = (name: string, options: object): void => {
    const { u, steps, errorBound } = tv.flow(f32, { times, ...options });
    const ms = time(() => tv.flow(f32, { times, ...options }).u.dispose(), 3);
    const bound = (errorBound.at(-1)?.[0] as number) / extent;
    console.log(
      `${name}: ${steps.length} steps, ${ms.toFixed(1)} ms; of the range, certified at the end ${bound.toExponential(1)}, rms over all times ${(rms(u) / extent).toExponential(1)}`,
    );
    u.dispose();
  };
  show(`steps of ${STEP}`, { step: STEP });
  for (const accuracy of [3e-3, 1e-3, 3e-4]) show(`accuracy ${accuracy}`, { accuracy });
}

if (parts.includes('batch')) {
  const count = Number(args.batch);
  const images = await Promise.all(Array.from({ length: count }, (_, k) => (args.image === undefined ? image(k + 1) : image(1))));
  const all = tidy(() => ops.cast(ops.stack(images, 0), 'float32'));
  for (const tolerance of [1e-4, 1e-6]) {
    const start = performance.now();
    const u = flowOf(all, { tolerance });
    const seconds = (performance.now() - start) / 1000;
    const worst = Math.min(
      ...[0, 1, 2, 3].map((k) =>
        tidy(() => {
          const at = Math.floor((k * count) / 4);
          return decibels(ops.reshape(ops.narrow(u, 1, at, at + 1), [COUNT + 1, size, size]), reference(images[at] as Tensor));
        }),
      ),
    );
    console.log(`${count} images, gap ${tolerance}: ${seconds.toFixed(2)} s, lowest of four ${worst.toFixed(1)} dB`);
    u.dispose();
  }
}
