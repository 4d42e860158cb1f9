/**
 * The CUDA backend without a GPU: its kernels run on the CPU (emulation/), behind the same library interface, and the tests of the
 * operations run once more on the device 'cuda'.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { emulatedLibrary, onDevice as runOnDevice } from './device.js';

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
      const { status, stdout, stderr } = spawnSync(process.execPath, [vitest, 'run', 'test/ops', 'test/nn/modules.test.ts'], {
        cwd: root,
        encoding: 'utf8',
        env: {
          ...process.env,
          TAUTGRAD_CUDA_LIBRARY: library,
          TAUTGRAD_DEVICE: 'cuda',
          TAUTGRAD_EMULATION_SEED: String(seed),
          TAUTGRAD_EMULATION_ASYNC: seed === 2 ? '1' : '',
        },
      });
      expect(`${stdout}${stderr}`.slice(-4000)).toContain('passed');
      expect(status).toBe(0);
    },
    300_000,
  );

  it.each([1, 2])(
    'agrees with the CPU backend on every entry of the kernel table, seed %i',
    (seed) => {
      const { status, stdout, stderr } = spawnSync(process.execPath, ['test/gpu/agreement.mjs', '--rounds', '2', '--seed', String(seed)], {
        cwd: root,
        encoding: 'utf8',
        env: {
          ...process.env,
          TAUTGRAD_CUDA_LIBRARY: library,
          TAUTGRAD_EMULATION_SEED: String(seed),
          TAUTGRAD_EMULATION_ASYNC: seed === 2 ? '1' : '',
        },
      });
      expect(stdout + stderr).not.toMatch(/DISAGREES|has no case|rror/);
      expect(status).toBe(0);
    },
    120_000,
  );

  it('passes the tests of the runtime that a GPU runs too', () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, ['test/gpu/steps.mjs'], {
      cwd: root,
      encoding: 'utf8',
      env: { ...process.env, TAUTGRAD_CUDA_LIBRARY: library, TAUTGRAD_EMULATION_ASYNC: '1' },
    });
    expect(stdout + stderr).not.toMatch(/FAIL|rror/);
    expect(stdout).toMatch(/\d+ passed, 0 failed\n$/);
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
      console.log(hash.digest('hex'));`;
    const runs = [1, 2, 3].map((seed) => onDevice(script, seed));
    expect(runs[0]?.output).toMatch(/^[0-9a-f]{64}\n$/);
    expect(new Set(runs.map((run) => run.output)).size).toBe(1);
  }, 120_000);

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
