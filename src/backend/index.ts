export { type Address, addon } from './addon.js';
export * from './device.js';
export * as kernels from './kernels.js';
export { type Precision, precision, setPrecision, withPrecision } from './precision.js';
export { Recording, recording } from './recording.js';
export { Stage } from './stage.js';
