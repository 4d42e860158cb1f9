/**
 * The CUDA kernels on the emulation under the address and undefined-behaviour sanitizers: every entry of the kernel table once. The library
 * alone is instrumented, so that the sanitizer's runtime has to be in the process before it.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { isAbsolute, join } from 'node:path';
import { expect, it } from 'vitest';

const root = new URL('../..', import.meta.url).pathname;
const { build } = createRequire(import.meta.url)('../../scripts/native-tree.cjs') as {
  build(what: { sanitize: string; target: string }): string;
};
const runtime = (name: string) => {
  try {
    return execFileSync(process.env.CXX ?? 'g++', [`-print-file-name=${name}`], { encoding: 'utf8' }).trim();
  } catch {
    return '';
  }
};
const preload = ['libasan.so', 'libubsan.so'].map(runtime);
const usable = process.platform === 'linux' && preload.every(isAbsolute);
if (!usable) console.warn("the sanitizers' shared runtime is not installed: the CUDA kernels are not tested under it here");

it.runIf(usable)(
  'the emulated kernels touch no memory but their own',
  () => {
    const library = join(build({ sanitize: 'address', target: 'tautgrad_cuda_emulated' }), 'test/cuda/libtautgrad_cuda_emulated.so');
    const { status, stdout, stderr } = spawnSync(process.execPath, ['test/gpu/agreement.mjs', '--rounds', '1', '--seed', '3'], {
      cwd: root,
      encoding: 'utf8',
      // Node itself gives nothing back at its end.
      env: { ...process.env, TAUTGRAD_CUDA_LIBRARY: library, LD_PRELOAD: preload.join(':'), ASAN_OPTIONS: 'detect_leaks=0' },
    });
    expect(stderr).toBe('');
    expect(stdout).not.toMatch(/DISAGREES|has no /);
    expect(status).toBe(0);
  },
  900_000,
);
