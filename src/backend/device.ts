/** The devices of this machine and the current one. */
import { addon } from './addon.js';

export type DeviceName = 'cpu' | 'cuda';

/** What `devices()` and `tautgrad info` report about one device. */
export interface DeviceInfo {
  name: DeviceName;
  available: boolean;
  /** Instruction set or GPU model; for an unavailable device, the sentence that says why. */
  description: string;
  /** Threads of the native pool (CPU only). */
  threads?: number;
  /** Of each vendor library that could serve: what was found where, or why it is not used (an available GPU only). */
  readonly libraries?: string[];
}

export const DEVICE_INDEX: Readonly<Record<DeviceName, number>> = { cpu: 0, cuda: 1 };

let cudaStatus: string | undefined;

/** tg_option of native/backend.h. */
const TF32 = 0;
const BFLOAT16 = 1;
let tf32 = false;

/** '' when CUDA can be used, else the reason. Looked up once. */
function whyNoCuda(): string {
  if (cudaStatus === undefined) {
    cudaStatus = addon.loadCuda();
    if (cudaStatus === '' && tf32) addon.setOption(DEVICE_INDEX.cuda, TF32, 1);
  }
  return cudaStatus;
}

/** Every device that this version knows, usable or not, with the reason. */
export function devices(): DeviceInfo[] {
  const reason = whyNoCuda();
  return [
    { name: 'cpu', available: true, description: addon.describe(DEVICE_INDEX.cpu), threads: addon.threads },
    reason === ''
      ? {
          name: 'cuda',
          available: true,
          description: addon.describe(DEVICE_INDEX.cuda),
          // Opening them takes a second: only when somebody wants to know.
          get libraries() {
            return addon.libraries(DEVICE_INDEX.cuda).split('\n').filter(Boolean);
          },
        }
      : { name: 'cuda', available: false, description: `No GPU: ${reason}` },
  ];
}

/** @throws Error with the reason when the device cannot be used. */
export function requireDevice(name: DeviceName): void {
  const reason = name === 'cuda' ? whyNoCuda() : '';
  if (reason !== '') throw new Error(`No GPU: ${reason}`);
}

let current: DeviceName = 'cpu';

/** The device on which new tensors are made. */
export function device(): DeviceName {
  return current;
}

/**
 * Chooses the device on which new tensors are made. Tensors stay where they are (`x.to(device)` copies), and an operation needs all of
 * its tensors on one device, the current one.
 * @throws Error with the reason when the device cannot be used.
 */
export function setDevice(name: DeviceName): void {
  if (name !== 'cpu' && name !== 'cuda') {
    throw new TypeError(`Expected 'cpu' or 'cuda' for device but received ${String(name)}`);
  }
  requireDevice(name);
  current = name;
}

/** Runs `body` while new tensors are made on another device. */
export function withDevice<T>(name: DeviceName, body: () => T): T {
  const before = current;
  setDevice(name);
  try {
    return body();
  } finally {
    current = before;
  }
}

/**
 * Whether float32 convolutions and matrix products on the GPU may round their factors to TensorFloat-32 (11 significant bits), where cuDNN
 * and cuBLAS compute them: several times faster, and less accurate. False at first.
 * @param allow the new setting; without it the call only asks
 */
export function allowTF32(allow?: boolean): boolean {
  if (allow === undefined) return tf32;
  if (typeof allow !== 'boolean') throw new TypeError(`Expected true or false for allow but received ${String(allow)}`);
  tf32 = allow;
  if (cudaStatus === '') addon.setOption(DEVICE_INDEX.cuda, TF32, Number(allow));
  return tf32;
}

/** Runs `body`, whose convolutions and matrix products on the GPU round their float32 factors to bfloat16 by themselves. */
export function withBfloat16Products(body: () => void): void {
  addon.setOption(DEVICE_INDEX.cuda, BFLOAT16, 1);
  try {
    body();
  } finally {
    addon.setOption(DEVICE_INDEX.cuda, BFLOAT16, 0);
  }
}

const requested = process.env.TAUTGRAD_DEVICE;
if (requested !== undefined && requested !== '') setDevice(requested as DeviceName);
