/**
 * tautgrad: differentiable total-variation layers and the variational imaging networks built on them.
 */
export {
  type Tree, customJvp, customVjp, checkpoint, definePrimitive, grad, hvp, jvp, valueAndGrad, vjp,
} from './autodiff/index.js';
export { type DeviceInfo, type DeviceName, device, devices, setDevice } from './backend/index.js';
export * as data from './data/index.js';
export * as linalg from './linalg/index.js';
export * as metrics from './metrics/index.js';
export * as models from './models/index.js';
export * as nn from './nn/index.js';
export * as ops from './ops/index.js';
export * as optim from './optim/index.js';
export {
  type DType, Generator, type MemoryInfo, type RandomState, type Shape, Tensor, type TensorData, type TypedArray,
  arange, full, memory, ones, randn, scalar, seed, tensor, tidy, zeros,
} from './tensor/index.js';
export * as train from './train/index.js';
export * as tv from './tv/index.js';
