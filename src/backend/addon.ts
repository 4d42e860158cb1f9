/** Loads the native addon and checks that it speaks this version's kernel table. */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The device's index times 2^48, plus the pointer: exact below 2^53. */
export type Address = number;

interface Addon {
  readonly arguments: Float64Array;
  readonly kernelNames: readonly string[];
  readonly tableVersion: number;
  readonly threads: number;
  call(kernel: number): void;
  callAsync(kernel: number): Promise<void>;
  alloc(device: number, bytes: number): Address;
  release(address: Address): boolean;
  view(address: Address, bytes: number): ArrayBuffer;
  addressOf(array: ArrayBufferView): Address;
  copy(to: Address, from: Address, bytes: number): void;
  download<T extends ArrayBufferView>(to: T, from: Address, bytes: number): Promise<T>;
  synchronize(): void;
  memory(device: number): { liveBytes: number; liveBlocks: number; cachedBytes: number };
  trim(): void;
  loadCuda(): string;
  describe(device: number): string;
  hasKernel(device: number, name: string): boolean;
  setOption(device: number, option: number, value: number): void;
  libraries(device: number): string;
  captureBegin(device: number): void;
  captureEnd(device: number, keep: boolean): Address;
  graphLaunch(graph: Address): void;
  graphDestroy(graph: Address): void;
  stageMake(to: Address, bytes: number): Address;
  stageSend(stage: Address, from: Address): void;
  stageReceive(stage: Address): void;
  stageDone(stage: Address): void;
  stageFree(stage: Address): void;
}

const TABLE_VERSION = 4;

function load(): Addon {
  const require = createRequire(import.meta.url);
  // dist/backend/addon.js and src/backend/addon.ts lie equally deep.
  const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
  let addon: Addon;
  try {
    addon = require('node-gyp-build')(root) as Addon;
  } catch (error) {
    throw new Error(
      `The native addon of tautgrad could not be loaded: ${(error as Error).message.split('\n')[0]}. ` +
        'There is no prebuilt binary for this platform, or it was not built: run "npm rebuild tautgrad" with a C++17 compiler and make installed.',
      { cause: error },
    );
  }
  if (addon.tableVersion !== TABLE_VERSION) {
    throw new Error(
      `The native addon has kernel table version ${addon.tableVersion}, this version of tautgrad needs ${TABLE_VERSION}: run "npm rebuild tautgrad".`,
    );
  }
  return addon;
}

export const addon: Addon = load();
