/**
 * The figures of the GPU backend, in plain Node (a GPU host may have neither Node's package manager nor a network).
 *
 *   node bench/gpu.mjs [--repeat 9] [--small] [--json]
 *
 * Medians of the time from the first call to the end of the last kernel, several calls to a turn. `--small` shrinks every case, to try the
 * program on the emulation. Bandwidth shares are of a device-to-device copy measured in the same run.
 */
import { parseArgs } from 'node:util';

const { allowTF32, devices, grad, memory, models, nn, ops, optim, randn, seed, setDevice, tidy, train, tv } = await import(
  new URL('../dist/index.js', import.meta.url).href
);
const { addon } = await import(new URL('../dist/backend/index.js', import.meta.url).href);
const { values: args } = parseArgs({
  options: { repeat: { type: 'string', default: '9' }, small: { type: 'boolean' }, json: { type: 'boolean' } },
});
const scale = args.small ? 64 : 1;
const repeat = Number(args.repeat);
const device = devices()[1];
console.log([device.description, ...(device.libraries ?? [])].join('\n'));
setDevice('cuda');
seed(1);

function median(body, calls = 10) {
  const run = () => tidy(() => void body());
  run();
  addon.synchronize();
  const times = [];
  for (let k = 0; k < repeat; k++) {
    const start = performance.now();
    for (let c = 0; c < calls; c++) run();
    addon.synchronize();
    times.push((performance.now() - start) / calls);
  }
  return times.sort((a, b) => a - b)[Math.floor(repeat / 2)];
}
const rows = [];
const row = (name, ms, extra = {}) => {
  rows.push({ case: name, ms, ...extra });
  const details = Object.entries(extra).map(([key, v]) => `${key} ${typeof v === 'number' ? v.toPrecision(3) : v}`);
  if (!args.json) console.log(`${name.padEnd(60)} ${ms.toFixed(4).padStart(10)} ms  ${details.join(', ')}`);
};

// The copy that everything is measured against: bytes read and written.
const samples = Math.ceil((1 << 28) / scale);
const [from, to] = [randn([samples]), randn([samples])];
const copyMs = median(() => to.assign(from));
const bandwidth = (8 * samples) / copyMs / 1e6;
row('copy within the device', copyMs, { 'GB/s': bandwidth });
from.dispose();
to.dispose();

// Table 1 of Yeh et al. 2022: 8192 lines of 32, a unit step and noise, lambda 1; forward and backward.
{
  const lines = Math.ceil(8192 / scale);
  const x = randn([lines, 32]);
  row(
    'paper workload: 8192 x 32, forward',
    median(() => tv.prox1d(x, 1), 50),
  );
  row(
    'paper workload: forward and backward',
    median(() => grad((v) => ops.sum(tv.prox1d(v, 1)))(x), 50),
    { paper: '17.3 ms on an A6000' },
  );
  const captured = train.capture(() => void grad((v) => ops.sum(tv.prox1d(v, 1)))(x));
  captured();
  row('paper workload: forward and backward, captured', median(captured, 50));
  captured.dispose();
  x.dispose();
}
for (const [lines, n] of [
  [1 << 20, 32],
  [65536, 1024],
]) {
  const x = randn([Math.ceil(lines / scale), n]);
  const ms = median(() => tv.prox1d(x, 1), 3);
  row(`${lines} lines of ${n}, forward`, ms, { 'share of the copy bandwidth': (8 * x.size) / ms / 1e6 / bandwidth });
  x.dispose();
}
for (const batch of [1, 64]) {
  const size = args.small ? 32 : 512;
  const x = ops.mul(randn([args.small ? 1 : batch, size, size]), 0.1);
  const on = (name) => {
    setDevice(name);
    const own = x.to(name);
    const ms = median(() => tv.prox2d(own, 0.1, { tolerance: 1e-6 }), 1);
    own.dispose();
    return ms;
  };
  const gpu = on('cuda');
  const cpu = on('cpu');
  setDevice('cuda');
  row(`prox2d ${batch} x 512 x 512, lambda .1, relative gap 1e-6`, gpu, { 'times the CPU backend': cpu / gpu });
  row(
    `rof ${batch} x 512 x 512, lambda .1, relative gap 1e-6`,
    median(() => tv.rof(x, 0.1, { tolerance: 1e-6 }), 1),
  );
  x.dispose();
}
// A training step of DnCNN-17, 64 channels, gray, 64 crops of 64 x 64, Adam.
{
  const model = new models.tvlayers.DnCNN({ depth: args.small ? 3 : 17, features: args.small ? 8 : 64, channels: 1 });
  const adam = new optim.Adam(model.namedParameters());
  const clean = randn([args.small ? 2 : 64, 1, args.small ? 16 : 64, args.small ? 16 : 64]);
  const noisy = ops.add(clean, 0.1);
  const step = () => adam.step(nn.valueAndGrad(model, () => ops.mean(ops.square(ops.sub(model.forward(noisy), clean)))).gradients);
  const eager = median(step, 2);
  row('DnCNN-17 training step, 64 x 64², float32', eager);
  const captured = train.capture(step);
  captured();
  const replayed = median(captured, 2);
  row('DnCNN-17 training step, captured', replayed, { 'times as fast as not captured': eager / replayed });
  captured.dispose();
  allowTF32(true);
  row('DnCNN-17 training step, TF32 allowed', median(step, 2));
  allowTF32(false);
  row(
    'DnCNN-17 training step, factors rounded to bfloat16',
    median(() => train.mixedPrecision(step), 2),
  );
}
if (args.json) for (const entry of rows) console.log(JSON.stringify({ device: device.description, ...entry }));
else console.log(`memory: ${(memory().bytes / 1e6).toFixed(0)} MB in use, ${(memory().cachedBytes / 1e6).toFixed(0)} MB kept by the pool`);
