/** nvcc compiles every kernel without a warning, and the library says why there is no GPU where there is none. */
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const root = new URL('../..', import.meta.url).pathname;
const { buildCuda } = createRequire(import.meta.url)('../../scripts/native-tree.cjs') as {
  buildCuda(options: { architectures: string; folder: string }): string;
};
const nvcc = spawnSync('nvcc', ['--version'], { encoding: 'utf8' });
const usable = /release 13\./.test(nvcc.stdout ?? '');
if (!usable) console.warn('nvcc 13 is not on the path: the CUDA kernels are not compiled for a GPU here');

it.runIf(usable)(
  'nvcc compiles the library; opened without a GPU it gives the reason',
  () => {
    process.env.CI ??= '1'; // warnings are errors
    const library = buildCuda({ architectures: '90-real', folder: 'build-cuda-check' });
    const script = `
      import { devices, setDevice } from ${JSON.stringify(join(root, 'dist/index.js'))};
      console.log(devices()[1].description);
      try { setDevice('cuda'); console.log('usable'); } catch (error) { console.log(error.message); }`;
    const { stdout, stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
      env: { ...process.env, TAUTGRAD_CUDA_LIBRARY: library },
    });
    expect(stderr).toBe('');
    expect(status).toBe(0);
    const [description, outcome] = stdout.trim().split('\n');
    if (outcome === 'usable') expect(description).toMatch(/compute capability/);
    else {
      expect(description).toMatch(/^No GPU: (this machine has no NVIDIA driver|the NVIDIA driver supports|no NVIDIA GPU was found)/);
      expect(outcome).toBe(description);
    }
  },
  600_000,
);
