/**
 * The figures of the GPU backend, in plain Node (a GPU host may have neither Node's package manager nor a network).
 *
 *   node bench/gpu.mjs [--repeat 9] [--only step] [--python python3] [--minutes 6] [--json] [--smoke]
 *
 * Medians of the time from the first call to the end of the last kernel, several calls to a turn. Where `--python` names an interpreter that
 * has PyTorch, training steps take turns with its (peers/torch_gpu.py); where TV_LAYERS_CUDA names a clone of raymondyeh07/tv_layers_for_cv, too,
 * the paper's workload runs beside its authors' CUDA code, which PyTorch compiles if need be (peers/paper_gpu.py). Bandwidth shares are of a
 * device-to-device copy measured in the same run. `--minutes` leaves out what has not begun by then. `--smoke` runs every case once at a tiny
 * size, which tries the program, on the emulation too; its times mean nothing.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { sections as choices } from './gpu/choice.mjs';
import { startPeer } from './peers/process.mjs';

const api = await import(new URL('../dist/index.js', import.meta.url).href);
const { allowTF32, data, devices, Generator, grad, memory, models, nn, ops, optim, randn, seed, setDevice, tidy, train, tv } = api;
const { addon } = await import(new URL('../dist/backend/index.js', import.meta.url).href);
const { values: args } = parseArgs({
  options: {
    repeat: { type: 'string', default: '9' },
    only: { type: 'string', default: '' },
    python: { type: 'string', default: '' },
    minutes: { type: 'string', default: 'Infinity' },
    smoke: { type: 'boolean' },
    json: { type: 'boolean' },
  },
});
const repeat = args.smoke ? 1 : Number(args.repeat);
const sized = (full, smoke) => (args.smoke ? smoke : full);
const device = devices()[1];
setDevice('cuda');
seed(1);
if (!args.json) console.log([device.description, ...(device.libraries ?? [])].join('\n'));

const middle = (times) => times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
const run = (body) => tidy(() => void body());
function time(body, calls) {
  const start = performance.now();
  for (let c = 0; c < calls; c++) run(body);
  addon.synchronize();
  return (performance.now() - start) / calls;
}
function median(body, calls = 10) {
  // Twice: a captured step is recorded by its second call.
  for (let k = 0; k < 2; k++) run(body);
  addon.synchronize();
  return middle(Array.from({ length: repeat }, () => time(body, args.smoke ? 1 : calls)));
}
const row = (name, ms, extra = {}) => {
  if (args.json) return console.log(JSON.stringify({ device: device.description, case: name, ms, ...extra }));
  const details = Object.entries(extra).map(([key, v]) => `${key} ${typeof v === 'number' ? v.toPrecision(3) : v}`);
  console.log(`${name.padEnd(64)} ${ms.toFixed(4).padStart(10)} ms  ${details.join(', ')}`);
};
const note = (text) => {
  if (!args.json) console.log(text);
};
const sections = [];
/** A part of the program; `body` may be asynchronous and then frees its own tensors. */
const section = (name, body) => sections.push({ name, body });
/** Runs with an environment variable that the kernels read at every call. */
const forced = (name, value, body) => {
  process.env[name] = value;
  try {
    return body();
  } finally {
    delete process.env[name];
  }
};

let bandwidth = 0; // GB/s, bytes read and written
section('copy', () => {
  const samples = sized(1 << 28, 1 << 12);
  const [from, to] = [randn([samples]), randn([samples])];
  const ms = median(() => to.assign(from));
  bandwidth = (8 * samples) / ms / 1e6;
  row('copy within the device', ms, { 'GB/s': bandwidth });
});

// Table 1 of Yeh et al. 2022: 8192 lines of 32, lambda 1; forward and backward. Targets: 25 us by replay, 300 times the authors' code and more
// accurate.
section('paper', async () => {
  const [lines, n] = [sized(8192, 40), 32];
  const x = randn([lines, n]);
  const forward = median(() => tv.prox1d(x, 1), 50);
  row(`paper workload ${lines} x ${n}, forward`, forward);
  const both = (v) => grad((u) => ops.sum(ops.square(tv.prox1d(u, 1))))(v);
  row(
    'paper workload, forward and backward',
    median(() => both(x), 50),
    { paper: '17.3 ms on an A6000' },
  );
  const replay = train.capture(both);
  const ms = median(() => replay(x), 50);
  row('paper workload, forward and backward, by replay', ms, { 'target ms': 0.025 });
  replay.dispose();
  await besideTheAuthors(x, { lines, n }, { forward, ms });
  x.dispose();
});

async function besideTheAuthors(x, shape, { forward, ms }) {
  const folder = process.env.TV_LAYERS_CUDA;
  if (!args.python || !folder) {
    note("the paper authors' CUDA code: left out (--python names an interpreter with PyTorch, TV_LAYERS_CUDA the folder of their code)");
    return;
  }
  // The exact solution in float64, which both are measured against.
  setDevice('cpu');
  const exact = tidy(() =>
    tv
      .prox1d(ops.cast(x.to('cpu'), 'float64'), 1)
      .toTypedArray()
      .slice(),
  );
  setDevice('cuda');
  const own = tidy(() => tv.prox1d(x, 1).toTypedArray().slice());
  const error = own.reduce((most, v, i) => Math.max(most, Math.abs(v - exact[i])), 0);
  const files = mkdtempSync(join(tmpdir(), 'tautgrad-paper-'));
  const peer = startPeer(args.python, 'paper_gpu.py', [folder]);
  try {
    const [input, solution] = [join(files, 'x'), join(files, 'exact')];
    writeFileSync(input, x.toTypedArray());
    writeFileSync(solution, exact);
    const theirs = await peer.ask({ ...shape, x: input, exact: solution, calls: sized(3, 1) });
    if (theirs.skip) {
      note(`the paper authors' CUDA code: left out (${theirs.skip})`);
      return;
    }
    const name = "the paper authors' CUDA code";
    row(`${name}, forward`, theirs.forward, { 'times ours': theirs.forward / forward, error: theirs.error, 'our error': error });
    row(`${name}, forward and backward`, theirs.both, { 'times ours by replay': theirs.both / ms, target: 300 });
  } finally {
    peer.end();
    rmSync(files, { recursive: true });
  }
}

// Target: 0.3 of the copy's bandwidth.
section('lines', () => {
  for (const [lines, n] of [
    [1 << 20, 32],
    [65536, 1024],
  ]) {
    const x = randn([sized(lines, 33), n]);
    const ms = median(() => tv.prox1d(x, 1), 3);
    row(`${lines} lines of ${n}, forward`, ms, { 'share of the copy': (8 * x.size) / ms / 1e6 / bandwidth, target: 0.3 });
    x.dispose();
  }
  const x = randn([2, sized(1 << 20, 5000)]);
  const serial = forced('TAUTGRAD_CUDA_PROX1D', 'serial', () => median(() => tv.prox1d(x, 1), 1));
  row(
    '2 lines of 1048576, forward, in chunks',
    median(() => tv.prox1d(x, 1), 1),
    { 'ms with a thread per line': serial },
  );
});

// Targets: 5 ms for one image; a batch of 64 ten times the CPU backend on all cores.
section('images', () => {
  const size = sized(512, 12);
  for (const batch of [1, sized(64, 2)]) {
    const x = ops.mul(randn([batch, size, size]), 0.1);
    const solve = () => tv.prox2d(x, 0.1, { tolerance: 1e-6 });
    const own = x.to('cpu');
    setDevice('cpu');
    const cpu = median(() => tv.prox2d(own, 0.1, { tolerance: 1e-6 }), 1);
    setDevice('cuda');
    const name = `prox2d ${batch} x ${size}², lambda .1, relative gap 1e-6`;
    row(name, median(solve, 1), {
      'times the CPU backend': cpu / median(solve, 1),
      ...(batch === 1 ? { 'target ms': 5 } : { target: 10 }),
    });
    for (const method of ['fista', 'dykstra']) {
      const ms = forced('TAUTGRAD_CUDA_TV2D', method, () => median(solve, 1));
      const { relativeGap, iterations } = forced('TAUTGRAD_CUDA_TV2D', method, () => tv.solve2d(x, 0.1, { tolerance: 1e-6 }));
      row(`${name}, ${method}`, ms, { gap: Math.max(...relativeGap), iterations: Math.max(...iterations) });
    }
    row(
      `rof ${batch} x ${size}², lambda .1, relative gap 1e-6`,
      median(() => tv.rof(x, 0.1, { tolerance: 1e-6 }), 1),
    );
  }
  const side = sized(128, 4);
  const volume = ops.mul(randn([side, side, side]), 0.1);
  row(
    `prox3d ${side}³, lambda .1, relative gap 1e-6`,
    median(() => tv.prox3d(volume, 0.1, { tolerance: 1e-6 }), 1),
  );
});

for (const [name, rows] of Object.entries(choices)) section(name, () => rows({ api, forced, median, row, sized }));

const conv = (inChannels, outChannels, stride = 1) => new nn.Conv2d({ inChannels, outChannels, kernelSize: 3, padding: 1, stride });
const up = (inChannels, outChannels) =>
  new nn.ConvTranspose2d({ inChannels, outChannels, kernelSize: 3, padding: 1, stride: 2, outputPadding: 1 });
/** The U-Net of bench/engine.ts. */
class UNet extends nn.Module {
  e1 = conv(1, 17);
  d1 = conv(17, 34, 2);
  e2 = conv(34, 34);
  d2 = conv(34, 68, 2);
  m = conv(68, 68);
  u2 = up(68, 34);
  f2 = conv(68, 34);
  u1 = up(34, 17);
  f1 = conv(34, 17);
  out = conv(17, 1);
  forward(x) {
    const a = this.e1.forwardRelu(x);
    const b = this.e2.forwardRelu(this.d1.forwardRelu(a));
    const m = this.m.forwardRelu(this.d2.forwardRelu(b));
    const b2 = this.f2.forwardRelu(ops.concat([ops.relu(this.u2.forward(m)), b], 1));
    const a2 = this.f1.forwardRelu(ops.concat([ops.relu(this.u1.forward(b2)), a], 1));
    return ops.add(this.out.forward(a2), x);
  }
}

section('fft', () => {
  for (const [outer, n, inner] of [
    [sized(8192, 3), 512, 1],
    [sized(16, 1), 512, sized(512, 3)],
    [sized(256, 1), sized(16384, 4096), 1],
  ]) {
    const z = { re: randn([outer, n, inner]), im: randn([outer, n, inner]) };
    const each = ['own', 'cufft'].map((way) => forced('TAUTGRAD_CUDA_FFT', way, () => median(() => ops.fft(z, { axes: 1 }), 5)));
    const name = `Fourier transform, ${outer * inner} lines of ${n}${inner > 1 ? ' across' : ''}`;
    row(name, each[0], { 'share of the copy': (16 * z.re.size) / each[0] / 1e6 / bandwidth, 'ms by cuFFT where it is found': each[1] });
  }
});

/** The optimiser alone, over the parameters of DnCNN-17: one launch, with clipping three. */
section('update', () => {
  const sizes = sized([576, 64, ...Array(15).fill([36864, 64]).flat(), 576, 1], [9, 1, 30]);
  const parameters = new Map(sizes.map((n, k) => [`p${k}`, { value: randn([n]), trainable: true }]));
  const gradients = new Map(sizes.map((n, k) => [`p${k}`, randn([n])]));
  const adam = new optim.Adam(parameters);
  const average = new optim.MovingAverage(parameters);
  const bytes = sizes.reduce((sum, n) => sum + 4 * n, 0);
  for (const [name, body, passes] of [
    ['Adam', () => adam.step(gradients), 7],
    ['Adam with clipping', () => adam.step(gradients, { clipNorm: 1 }), 8],
    ['moving average', () => average.update(), 3],
  ]) {
    const ms = median(body, 20);
    row(`${name}, ${sizes.length} tensors of ${(bytes / 4e6).toFixed(2)} M values`, ms, {
      'share of the copy': (passes * bytes) / ms / 1e6 / bandwidth,
    });
  }
  average.dispose();
});

const small = { depth: 3, features: 8 };
const network = (name) => (name === 'dncnn' ? new models.tvlayers.DnCNN(sized({ depth: 17, features: 64 }, small)) : new UNet());
const TITLES = { dncnn: 'DnCNN-17', unet: 'U-Net 17/34/68' };

// Batch 64 of 64² crops, Adam. Targets: eager 1.0 times PyTorch's eager step, captured 1.2 times; TF32 off, then on for both sides; then bfloat16,
// beside PyTorch's autocast. PyTorch's own CUDA graph stands beside the captured step.
section('steps', async () => {
  const peer = args.python ? startPeer(args.python, 'torch_gpu.py', args.smoke ? ['--cpu'] : []) : null;
  for (const arithmetic of ['TF32 off', 'TF32 on', 'bfloat16']) {
    const tf32 = arithmetic === 'TF32 on';
    allowTF32(tf32);
    const inArithmetic = arithmetic === 'bfloat16' ? train.mixedPrecision : (body) => body();
    for (const [name, title] of Object.entries(TITLES)) {
      const model = network(name);
      const adam = new optim.Adam(model.namedParameters());
      const [batch, side, calls] = [sized(64, 2), sized(64, 8), sized(5, 1)];
      const [x, target] = [randn([batch, 1, side, side]), randn([batch, 1, side, side])];
      const step = (a, b) => {
        const loss = () => ops.mean(ops.square(ops.sub(model.forward(a), b)));
        inArithmetic(() => adam.step(nn.valueAndGrad(model, loss).gradients));
      };
      const replay = train.capture(step);
      const sides = [[], [], [], []]; // ours as it is and captured, PyTorch's likewise
      for (const body of [step, step, replay, replay]) run(() => body(x, target));
      addon.synchronize();
      const what = { model: name, batch, side, tf32, calls, ...sized({ depth: 17, features: 64 }, small) };
      const modes = arithmetic === 'bfloat16' ? ['bf16'] : ['eager', 'graph'];
      for (let k = 0; k < repeat; k++) {
        sides[0].push(time(() => step(x, target), calls));
        sides[1].push(time(() => replay(x, target), calls));
        if (peer) for (const [i, mode] of modes.entries()) sides[2 + i].push((await peer.ask({ ...what, mode })).ms);
      }
      replay.dispose();
      const [eager, captured, torch, graph] = sides.map(middle);
      const label = `${title} training step, batch ${batch}, ${side}², ${arithmetic}`;
      const beside = (ms, goal) => (peer ? { 'PyTorch ms': torch, 'times PyTorch': torch / ms, target: goal } : {});
      row(label, eager, beside(eager, 1));
      row(`${label}, captured`, captured, { ...beside(captured, 1.2), ...(graph && { 'ms of PyTorch as a CUDA graph': graph }) });
      adam.dispose();
      model.dispose();
      for (const t of [x, target]) t.dispose();
    }
  }
  allowTF32(false);
  peer?.end();
});

// Captured steps with noise on patches that worker threads make, against the same steps with one batch that lies on the device. Target: 95 %.
section('loading', async () => {
  const [size, side, count] = [sized(64, 2), sized(64, 8), sized(60, 3)];
  const make = { patchSize: side, seed: 1, workers: sized(4, 1), ahead: 8, ...(args.smoke && { pictures: 2, pictureSize: 32 }) };
  for (const [name, title] of Object.entries(TITLES)) {
    const source = data.deviceSource(await data.prefetchDeadLeaves(make));
    const model = network(name);
    const adam = new optim.Adam(model.namedParameters());
    const noise = new Generator(1);
    const step = train.capture((clean) => {
      const noisy = ops.add(clean, noise.normal(clean.shape, { std: 0.1 }));
      adam.step(nn.valueAndGrad(model, () => ops.mean(ops.square(ops.sub(model.forward(noisy), clean)))).gradients);
    });
    const ready = randn([size, 1, side, side]);
    let number = 0;
    const passes = {
      ready: async (steps) => {
        for (let k = 0; k < steps; k++) run(() => step(ready));
      },
      loaded: async (steps) => {
        for (let k = 0; k < steps; k++) {
          const batch = await source.batch(number++, size);
          run(() => step(batch.clean));
          batch.release();
        }
      },
    };
    const rates = { ready: [], loaded: [] };
    for (let k = -1; k < Math.min(repeat, 5); k++) {
      for (const [way, pass] of Object.entries(passes)) {
        const start = performance.now();
        await pass(k < 0 ? 3 : count); // the first turn records the step and starts the workers
        addon.synchronize();
        if (k >= 0) rates[way].push((count * size * 1000) / (performance.now() - start));
      }
    }
    const [onDevice, loaded] = [middle(rates.ready), middle(rates.loaded)];
    row(`${title}, captured steps with batches of worker threads`, (size * 1000) / loaded, {
      'patches/s': loaded,
      'of the throughput without loading': loaded / onDevice,
      target: 0.95,
    });
    step.dispose();
    await source.close();
    adam.dispose();
    model.dispose();
    ready.dispose();
  }
});

const began = performance.now();
for (const { name, body } of sections) {
  if (name !== 'copy' && !name.includes(args.only)) continue; // shares of the bandwidth need the copy
  if (performance.now() - began > Number(args.minutes) * 60_000) {
    note(`${name}: left out, ${args.minutes} minutes are over`);
    continue;
  }
  // Synchronous sections leave their tensors to a scope.
  if (body.constructor.name === 'AsyncFunction') await body();
  else tidy(body);
}
note(`memory: ${(memory().bytes / 1e6).toFixed(0)} MB in use, ${(memory().cachedBytes / 1e6).toFixed(0)} MB kept by the pool`);
