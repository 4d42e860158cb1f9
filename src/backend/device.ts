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
}

export const DEVICE_INDEX: Readonly<Record<DeviceName, number>> = { cpu: 0, cuda: 1 };

let cudaStatus: string | undefined;

/** '' when CUDA can be used, else the reason. Looked up once. */
function whyNoCuda(): string {
  cudaStatus ??= addon.loadCuda();
  return cudaStatus;
}

/** Every device that this version knows, usable or not, with the reason. */
export function devices(): DeviceInfo[] {
  const reason = whyNoCuda();
  return [
    { name: 'cpu', available: true, description: addon.describe(DEVICE_INDEX.cpu), threads: addon.threads },
    { name: 'cuda', available: reason === '', description: reason === '' ? addon.describe(DEVICE_INDEX.cuda) : `No GPU: ${reason}` },
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

const requested = process.env.TAUTGRAD_DEVICE;
if (requested !== undefined && requested !== '') setDevice(requested as DeviceName);
