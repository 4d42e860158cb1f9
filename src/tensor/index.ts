export * from './dtype.js';
export * from './random.js';
export * from './scope.js';
export * from './shape.js';
export { Storage } from './storage.js';
export * from './tensor.js';
