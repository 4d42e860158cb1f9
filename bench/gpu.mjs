/**
 * The figures of the GPU backend, in plain Node (a GPU host may have neither Node's package manager nor a network).
 *
 *   node bench/gpu.mjs [--repeat 9] [--only step] [--python python3] [--json] [--smoke]
 *
 * Medians of the time from the first call to the end of the last kernel, several calls to a turn; training steps take turns with PyTorch's
 * (bench/peers/torch_gpu.py) where `--python` names an interpreter that has it. Bandwidth shares are of a device-to-device copy measured in
 * the same run. `--smoke` runs every case once at a tiny size, which tries the program, on the emulation too; its times mean nothing.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { sections as choices } from './gpu/choice.mjs';

const api = await import(new URL('../dist/index.js', import.meta.url).href);
const { allowTF32, devices, grad, memory, models, nn, ops, optim, randn, seed, setDevice, tidy, train, tv } = api;
const { addon } = await import(new URL('../dist/backend/index.js', import.meta.url).href);
const { values: args } = parseArgs({
  options: {
    repeat: { type: 'string', default: '9' },
    only: { type: 'string', default: '' },
    python: { type: 'string', default: '' },
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
const sections = [];
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

// Table 1 of Yeh et al. 2022: 8192 lines of 32, lambda 1; forward and backward. Target: 25 us by replay.
section('paper', () => {
  const x = randn([sized(8192, 40), 32]);
  row(
    'paper workload 8192 x 32, forward',
    median(() => tv.prox1d(x, 1), 50),
  );
  const both = (v) => grad((u) => ops.sum(ops.square(tv.prox1d(u, 1))))(v);
  row(
    'paper workload, forward and backward',
    median(() => both(x), 50),
    { paper: '17.3 ms on an A6000' },
  );
  const replay = train.capture(both);
  row(
    'paper workload, forward and backward, by replay',
    median(() => replay(x), 50),
    { 'target ms': 0.025 },
  );
  replay.dispose();
});

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

/** PyTorch's side: one case a line, one answer a line; null where there is none. */
function startPeer() {
  if (!args.python) return null;
  const script = fileURLToPath(new URL('peers/torch_gpu.py', import.meta.url));
  const child = spawn(args.python, [script, ...(args.smoke ? ['--cpu'] : [])], { stdio: ['pipe', 'pipe', 'inherit'] });
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async measure(what) {
      child.stdin.write(`${JSON.stringify(what)}\n`);
      const { value, done } = await answers.next();
      if (done) throw new Error('PyTorch ended early (its message is above)');
      return JSON.parse(value).ms;
    },
    end: () => child.stdin.end(),
  };
}

// Batch 64 of 64² crops, Adam. Targets: eager 1.0 times PyTorch's eager step, captured 1.2 times; TF32 off, then on for both sides.
async function steps() {
  const peer = startPeer();
  for (const tf32 of [false, true]) {
    allowTF32(tf32);
    for (const name of ['DnCNN-17', 'U-Net 17/34/68']) {
      const small = { depth: 3, features: 8 };
      const model = name === 'DnCNN-17' ? new models.tvlayers.DnCNN(sized({ depth: 17, features: 64 }, small)) : new UNet();
      const adam = new optim.Adam(model.namedParameters());
      const [batch, side] = [sized(64, 2), sized(64, 8)];
      const [x, target] = [randn([batch, 1, side, side]), randn([batch, 1, side, side])];
      const step = (a, b) => void adam.step(nn.valueAndGrad(model, () => ops.mean(ops.square(ops.sub(model.forward(a), b)))).gradients);
      const replay = train.capture(step);
      const sides = [[], [], []]; // eager, captured, PyTorch
      const calls = sized(5, 1);
      for (const body of [step, step, replay, replay]) run(() => body(x, target));
      addon.synchronize();
      const what = {
        model: name === 'DnCNN-17' ? 'dncnn' : 'unet',
        batch,
        side,
        tf32,
        calls,
        ...sized({ depth: 17, features: 64 }, small),
      };
      for (let k = 0; k < repeat; k++) {
        sides[0].push(time(() => step(x, target), calls));
        sides[1].push(time(() => replay(x, target), calls));
        if (peer) sides[2].push(await peer.measure(what));
      }
      replay.dispose();
      const [eager, captured, torch] = sides.map(middle);
      const label = `${name} training step, batch ${batch}, ${side}², TF32 ${tf32 ? 'on' : 'off'}`;
      row(label, eager, peer ? { 'PyTorch ms': torch, 'times PyTorch': torch / eager, target: 1 } : {});
      row(`${label}, captured`, captured, peer ? { 'times PyTorch': torch / captured, target: 1.2 } : {});
      if (!tf32) {
        const rounded = () => train.mixedPrecision(() => step(x, target));
        row(`${label}, factors rounded to bfloat16`, median(rounded, calls));
      }
    }
  }
  allowTF32(false);
  peer?.end();
}

for (const { name, body } of sections) if (name === 'copy' || name.includes(args.only)) tidy(body); // shares of the bandwidth need the copy
if ('steps'.includes(args.only)) await steps();
if (!args.json)
  console.log(`memory: ${(memory().bytes / 1e6).toFixed(0)} MB in use, ${(memory().cachedBytes / 1e6).toFixed(0)} MB kept by the pool`);
