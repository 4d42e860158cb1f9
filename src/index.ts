/**
 * tautgrad: differentiable total-variation layers and the variational imaging networks built on them.
 */
export { checkpoint, customJvp, customVjp, definePrimitive, grad, hvp, jvp, type Tree, valueAndGrad, vjp } from './autodiff/index.js';
export {
  allowTF32,
  type DeviceInfo,
  type DeviceName,
  device,
  devices,
  type Precision,
  precision,
  setDevice,
  setPrecision,
} from './backend/index.js';
export * as data from './data/index.js';
export * as inverse from './inverse/index.js';
export * as linalg from './linalg/index.js';
export * as metrics from './metrics/index.js';
export * as models from './models/index.js';
export * as nn from './nn/index.js';
export * as ops from './ops/index.js';
export * as optim from './optim/index.js';
export {
  arange,
  type DType,
  full,
  Generator,
  type MemoryInfo,
  memory,
  ones,
  type RandomState,
  randn,
  type Shape,
  scalar,
  seed,
  Tensor,
  type TensorData,
  type TypedArray,
  tensor,
  tidy,
  zeros,
} from './tensor/index.js';
export * as train from './train/index.js';
export * as tv from './tv/index.js';
