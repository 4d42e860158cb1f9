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

/** The environment of a process whose GPU is the emulated one; which device it starts on is its own affair. */
export function emulatedGpu(library: string, { seed = 1, asynchronous = false, environment = {} }: DeviceOptions = {}): NodeJS.ProcessEnv {
  return {
    ...process.env,
    TAUTGRAD_CUDA_LIBRARY: library,
    TAUTGRAD_EMULATION_SEED: String(seed),
    TAUTGRAD_EMULATION_ASYNC: asynchronous ? '1' : '',
    ...environment,
  };
}

/** Runs Node on the emulated GPU. */
export function runNode(library: string, args: readonly string[], options?: DeviceOptions): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8', env: emulatedGpu(library, options) });
  return { status, output: stdout + stderr };
}

/** Runs a module on the device 'cuda'; `$PACKAGE` and `$BACKEND` in it stand for what it can import. */
export function onDevice(library: string, script: string, options: DeviceOptions = {}): { status: number | null; output: string } {
  const code = script
    .replaceAll('$PACKAGE', JSON.stringify(join(root, 'dist/index.js')))
    .replaceAll('$BACKEND', JSON.stringify(join(root, 'dist/backend/index.js')));
  const environment = { TAUTGRAD_DEVICE: 'cuda', ...options.environment };
  return runNode(library, ['--expose-gc', '--input-type=module', '-e', code], { ...options, environment });
}
