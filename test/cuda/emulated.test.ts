/**
 * The CUDA backend without a GPU: its kernels run on the CPU (emulation/), behind the same library interface, and the tests of the
 * operations run once more on the device 'cuda'.
 */
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { emulatedLibrary, runNode, onDevice as runOnDevice } from './device.js';

const root = new URL('../..', import.meta.url).pathname;
let library = '';

beforeAll(() => {
  library = emulatedLibrary();
}, 600_000);

const onDevice = (script: string, seed = 1): { status: number | null; output: string } => runOnDevice(library, script, { seed });

const PACKAGE = JSON.stringify(join(root, 'dist/index.js'));

describe('the emulated CUDA backend', () => {
  it.each([1, 2])(
    'passes the tests of every operation, seed %i (2: streams that run late)',
    (seed) => {
      const vitest = join(root, 'node_modules/vitest/vitest.mjs');
      const { status, output } = runNode(library, [vitest, 'run', 'test/ops', 'test/nn/modules.test.ts'], {
        seed,
        asynchronous: seed === 2,
        environment: { TAUTGRAD_DEVICE: 'cuda' },
      });
      expect(output.slice(-4000)).toContain('passed');
      expect(status).toBe(0);
    },
    300_000,
  );

  it.each([1, 2])(
    'agrees with the CPU backend on every entry of the kernel table, seed %i',
    (seed) => {
      const { status, output } = runNode(library, ['test/gpu/agreement.mjs', '--rounds', '2', '--seed', String(seed)], {
        seed,
        asynchronous: seed === 2,
      });
      expect(output).not.toMatch(/DISAGREES|has no |rror/);
      expect(status).toBe(0);
    },
    120_000,
  );

  it('passes the tests of the runtime that a GPU runs too', () => {
    const { status, output } = runNode(library, ['test/gpu/steps.mjs'], { asynchronous: true });
    expect(output).not.toMatch(/FAIL|rror/);
    expect(output).toMatch(/\d+ passed, 0 failed\n$/);
    expect(status).toBe(0);
  }, 120_000);

  it('gives the same bits whatever the order of blocks and threads', () => {
    const script = `
      import { ops, tv, randn, seed } from ${PACKAGE};
      import { createHash } from 'node:crypto';
      const hash = createHash('sha256');
      seed(3);
      const [x, w] = [randn([2, 3, 37, 41]), randn([5, 3, 3, 3])];
      const add = (t) => hash.update(Buffer.from(t.toTypedArray().buffer));
      add(ops.conv2d(x, w, { padding: 1 }));
      add(ops.sum(x, { axes: [0, 2] }));
      add(tv.prox1d(x, 0.4));
      add(tv.prox2d(x, 0.2, { tolerance: 1e-4 }));
      add(tv.rof(x, 0.2, { tolerance: 1e-4 }));
      process.env.TAUTGRAD_CUDA_TV2D = 'dykstra';
      add(tv.prox2d(x, 0.2, { tolerance: 1e-4 }));
      add(tv.prox3d(randn([5, 9, 11]), 0.2, { tolerance: 1e-4 }));
      add(tv.prox1d(randn([2, 5000]), 0.4));
      console.log(hash.digest('hex'));`;
    const runs = [1, 2, 3].map((seed) => onDevice(script, seed));
    expect(runs[0]?.output).toMatch(/^[0-9a-f]{64}\n$/);
    expect(new Set(runs.map((run) => run.output)).size).toBe(1);
  }, 120_000);

  it('solves long lines in chunks to the bits of a single walk', () => {
    const { output } = onDevice(`
      import { ops, randn, seed, tv } from ${PACKAGE};
      seed(5);
      // Segments far shorter than a chunk, longer ones that need a second try, lines side by side, weights.
      for (const dtype of ['float32', 'float64'])
        for (const [shape, axis, lambda, weighted] of [[[1, 20000], -1, 0.5], [[2, 9000], -1, 2, true], [[5000, 3], -2, 0.3], [[1, 20000], -1, 10]]) {
          const x = ops.cast(randn(shape), dtype);
          const weights = weighted ? ops.add(ops.abs(ops.cast(randn([shape[0], shape[1] - 1]), dtype)), 0.5) : undefined;
          const bits = (way) => {
            process.env.TAUTGRAD_CUDA_PROX1D = way;
            return Buffer.from(tv.prox1d(x, lambda, { axis, weights }).toTypedArray().buffer);
          };
          console.log(bits('chunks').equals(bits('serial')));
        }`);
    expect(output).toBe('true\n'.repeat(8));
  }, 60_000);

  it('factors and solves long tridiagonal systems in chunks as the CPU does, those that need care too', () => {
    const { output } = onDevice(`
      import { linalg, ops, randn, seed, setDevice, tensor } from ${PACKAGE};
      seed(8);
      const n = 5000;
      const f64 = (length, value) => tensor(new Float64Array(length).map((_, k) => value(k)), { dtype: 'float64' });
      const [off, b] = [f64(n - 1, () => -1), randn([n], 'float64')];
      const onBoth = (solve, ...operands) => ['cpu', 'cuda'].map((device) => {
        setDevice(device);
        try {
          return [...solve(...operands.map((t) => t.to(device))).toTypedArray()];
        } catch (error) {
          return error.message;
        }
      });
      const compare = (name, [cpu, cuda]) => {
        if (typeof cpu === 'string') return console.log(name, cpu === cuda, cpu);
        const scale = Math.max(...cpu.map(Math.abs));
        console.log(name, cpu.every((v, k) => Math.abs(v - cuda[k]) <= 1e-12 * scale));
      };
      const byFactors = (d, e, v) => linalg.pttrs(...Object.values(linalg.pttrf(d, e)), v);
      compare('dominant', onBoth(byFactors, f64(n, () => 2.1), off, b));
      compare('scaled', onBoth(byFactors, f64(n, (k) => 2.1 * (1 + (k % 7) ** 4)), off, b));
      compare('indefinite', onBoth(byFactors, f64(n, (k) => (k === 3456 ? -1 : 3)), off, b));
      compare('not dominant', onBoth(linalg.gtsv, off, f64(n, (k) => 1 + 0.3 * Math.sin(k)), f64(n - 1, (k) => Math.cos(k)), b));
      compare('without a diagonal', onBoth(linalg.gtsv, off, f64(n, () => 0), off, b));
      compare('singular', onBoth(linalg.gtsv, off, f64(n, (k) => (k % (n - 1) ? 2 : 1)), off, b));`);
    expect(output).toBe(`dominant true
scaled true
indefinite true Expected positive definite matrices for d and e but pivot 3457 of system 0 is not
not dominant true
without a diagonal true
singular true Expected regular matrices for dl, d and du but pivot 5000 of system 0 is not
`);
  }, 60_000);

  it.each(['fista', 'dykstra'])(
    'certifies images by %s, from a warm start, with the partition',
    (method) => {
      const { output } = onDevice(`
        import { ops, randn, seed, setDevice, tensor, tv } from ${PACKAGE};
        process.env.TAUTGRAD_CUDA_TV2D = ${JSON.stringify(method)};
        seed(6);
        const x = ops.cast(randn([3, 30, 41]), 'float64');
        const lambda = tensor([0.05, 0.3, 2], { dtype: 'float64' });
        const { y, relativeGap } = tv.solve2d(x, lambda, { tolerance: 1e-6 });
        console.log(relativeGap.every((gap) => gap <= 1e-6));
        setDevice('cpu');
        const exact = tv.prox2d(x.to('cpu'), lambda.to('cpu'), { exact: true });
        console.log(ops.max(ops.abs(ops.sub(y.to('cpu'), exact))).item() < 0.02);`);
      expect(output).toBe('true\ntrue\n');
    },
    60_000,
  );

  it('runs the program of GPU hosts, and the benchmark at its smallest', () => {
    // Without an interpreter the peers are left out, in so many words.
    for (const args of [
      ['test/gpu/run.mjs', '--only', 'none'],
      ['bench/gpu.mjs', '--smoke'],
      ['bench/gpu.mjs', '--smoke', '--minutes', '0'],
    ]) {
      const { status, output } = runNode(library, args);
      expect(output).not.toMatch(/FAIL|undefined|rror/);
      expect(status).toBe(0);
      if (args.length === 2) {
        expect(output).toContain("the paper authors' CUDA code: left out");
        expect(output).toMatch(/captured steps with batches of worker threads .* of the throughput without loading/);
      }
      if (args.includes('--minutes')) expect(output).toMatch(/^loading: left out, 0 minutes are over$/m);
    }
  }, 400_000);

  it('moves tensors between devices, reads them without blocking, and refuses a mix', () => {
    const { output } = onDevice(`
      import { ops, tensor, memory } from ${PACKAGE};
      const x = tensor([1, 2, 3]);
      const y = ops.mul(x, 2);
      console.log(x.device, [...(await y.data())].join(), y.to('cpu').device, y.to('cpu').dataSync().join());
      try { ops.add(x, y.to('cpu')); } catch (error) { console.log(error.message); }`);
    expect(output).toContain('cuda 2,4,6 cpu 2,4,6');
    expect(output).toContain('Expected every tensor on one device for binary');
  }, 60_000);

  it('runs out of memory with an error that names the GPU, and goes on', () => {
    const { output, status } = onDevice(`
      import { zeros, ops } from ${PACKAGE};
      try { zeros([1 << 22, 1 << 22, 64]); } catch (error) { console.log(error.constructor.name, error.message); }
      console.log(ops.sum(zeros([4])).item());`);
    expect(status).toBe(0);
    expect(output).toMatch(/^RangeError Out of memory on the GPU: \d+ bytes could not be allocated/);
    expect(output).toMatch(/\n0\n$/);
  }, 60_000);
});
