/** Programs on the emulated GPU: each in a process of its own, because the device is the process's. */
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const root = new URL('../..', import.meta.url).pathname;
const require = createRequire(import.meta.url);
const { build } = require('../../scripts/native-tree.cjs') as { build(what: { target: string }): string };

/** Builds the kernels against the emulation. @returns the library's path */
export function emulatedLibrary(): string {
  return join(build({ target: 'tautgrad_cuda_emulated' }), 'test/cuda/libtautgrad_cuda_emulated.so');
}

export interface DeviceOptions {
  seed?: number;
  /** Work waits until the host synchronises, and the streams then take turns at random. */
  asynchronous?: boolean;
  environment?: Record<string, string>;
}

/** Runs a module on the device 'cuda'; `$PACKAGE` and `$BACKEND` in it stand for what it can import. */
export function onDevice(library: string, script: string, options: DeviceOptions = {}): { status: number | null; output: string } {
  const { seed = 1, asynchronous = false, environment = {} } = options;
  const code = script
    .replaceAll('$PACKAGE', JSON.stringify(join(root, 'dist/index.js')))
    .replaceAll('$BACKEND', JSON.stringify(join(root, 'dist/backend/index.js')));
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--expose-gc', '--input-type=module', '-e', code], {
    cwd: root,
    encoding: 'utf8',
    env: {
      ...process.env,
      TAUTGRAD_CUDA_LIBRARY: library,
      TAUTGRAD_DEVICE: 'cuda',
      TAUTGRAD_EMULATION_SEED: String(seed),
      TAUTGRAD_EMULATION_ASYNC: asynchronous ? '1' : '',
      ...environment,
    },
  });
  return { status, output: stdout + stderr };
}
