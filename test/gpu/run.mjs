/**
 * The device 'cuda' against the CPU backend, in plain Node: every entry of the kernel table, then the exact properties of the TV solvers
 * on the device. On a GPU host without Node and network through an offline bundle; on any machine through the emulation
 * (TAUTGRAD_CUDA_LIBRARY). The last line is "N passed, N failed".
 *
 *   node test/gpu/run.mjs [--rounds 5] [--only entry]
 *
 * --only: the entries of the kernel table whose names contain it.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { devices, ops, randn, seed, setDevice, tensor, tidy, tv } = await import(new URL('../../dist/index.js', import.meta.url).href);
console.log(
  devices()
    .map(({ name, description }) => `${name}: ${description}`)
    .join('\n'),
);
setDevice('cuda');

let [passed, failed] = [0, 0];
const test = (name, body) => {
  try {
    tidy(() => void body());
    passed++;
    console.log(`ok    ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAIL  ${name}: ${error.message}`);
  }
};
const largest = (x) => ops.max(ops.abs(x)).item();
const close = (what, a, b, tolerance) => {
  const error = largest(ops.sub(a, b));
  if (!(error <= tolerance)) throw new Error(`${what}: off by ${error}, allowed ${tolerance}`);
};

seed(7);
for (const dtype of ['float32', 'float64']) {
  const eps = dtype === 'float32' ? 2e-5 : 1e-11;
  for (const [lines, n] of [
    [1, 1],
    [3, 2],
    [100, 32],
    [33, 1000],
    [2, 20000],
  ]) {
    const x = ops.cast(randn([lines, n], 'float64'), dtype);
    test(`${dtype} ${lines} x ${n}: lambda 0 is the identity`, () => close('y', tv.prox1d(x, 0), x, 0));
    test(`${dtype} ${lines} x ${n}: a large lambda gives the mean`, () =>
      close('y', tv.prox1d(x, 1e5), ops.mul(ops.mean(x, { axes: -1, keepDims: true }), ops.add(ops.mul(x, 0), 1)), 20 * eps));
    test(`${dtype} ${lines} x ${n}: homogeneous and odd`, () =>
      close('y', tv.prox1d(ops.mul(x, -3), 1.5), ops.mul(tv.prox1d(x, 0.5), -3), 20 * eps));
    test(`${dtype} ${lines} x ${n}: optimality`, () => {
      const y = tv.prox1d(x, 0.5);
      const dual = ops.cumsum(ops.sub(x, y), -1);
      const over = ops.max(ops.sub(ops.abs(dual), 0.5)).item();
      if (!(over <= eps * n)) throw new Error(`the dual exceeds lambda by ${over}`);
    });
  }
  test(`${dtype}: rows of the transpose are columns`, () => {
    const x = ops.cast(randn([3, 40, 50], 'float64'), dtype);
    close('y', tv.prox1d(x, 0.3, { axis: -2 }), ops.transpose(tv.prox1d(ops.transpose(x, [0, 2, 1]), 0.3), [0, 2, 1]), eps);
  });
  for (const solve of ['solve2d', 'solveRof']) {
    test(`${dtype} ${solve}: certified, and the CPU agrees`, () => {
      const x = ops.cast(randn([2, 60, 70], 'float64'), dtype);
      const { y, relativeGap } = tv[solve](x, 0.2, { tolerance: 1e-5 });
      if (!(Math.max(...relativeGap) <= 1e-5)) throw new Error(`relative gap ${relativeGap}`);
      setDevice('cpu');
      const { y: reference } = tv[solve](x.to('cpu'), 0.2, { tolerance: 1e-6 });
      const error = largest(ops.sub(y.to('cpu'), reference));
      setDevice('cuda');
      if (!(error < 0.02)) throw new Error(`off by ${error}`);
    });
  }
  test(`${dtype}: a volume of one slice is an image`, () => {
    const x = ops.cast(randn([1, 12, 14], 'float64'), dtype);
    const options = { tolerance: 1e-6 };
    close('y', tv.prox3d(x, 0.3, options), tv.prox2d(x, 0.3, options), 0.01);
  });
  test(`${dtype}: an isotropic volume of one slice is an image`, () => {
    const x = ops.cast(randn([1, 12, 14], 'float64'), dtype);
    const options = { tolerance: 1e-6 };
    close('y', tv.rof(x, 0.3, { ...options, dims: 3 }), tv.rof(x, 0.3, options), 0.01);
  });
  test(`${dtype}: NaN stays in its line`, () => {
    const values = new Float32Array(4 * 50).map((_, i) => Math.sin(i * i));
    values[60] = Number.NaN;
    const y = tv.prox1d(ops.cast(tensor(values, { shape: [4, 50] }), dtype), 0.4).toTypedArray();
    for (let i = 0; i < y.length; i++) if ((i < 50 || i >= 100) && Number.isNaN(y[i])) throw new Error(`NaN at ${i}`);
  });
}

const { values: args } = parseArgs({ options: { rounds: { type: 'string', default: '5' }, only: { type: 'string', default: '' } } });
const script = fileURLToPath(new URL('agreement.mjs', import.meta.url));
const agreement = spawnSync(process.execPath, [script, '--rounds', args.rounds, '--only', args.only], {
  encoding: 'utf8',
  env: { ...process.env, TAUTGRAD_DEVICE: '' },
});
process.stdout.write(agreement.stdout + agreement.stderr);
passed += (agreement.stdout.match(/ agrees /g) ?? []).length;
failed += (agreement.stdout.match(/ DISAGREES | has no /g) ?? []).length + (agreement.status === 0 ? 0 : 1);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
