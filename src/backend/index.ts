export { type Address, addon } from './addon.js';
export * from './device.js';
export * as kernels from './kernels.js';
