export * from './device.js';
export * as kernels from './kernels.js';
export { type Address, addon } from './addon.js';
