export { Charbonnier, type FluxOptions, Lambda, LeakyReLU, PeronaMalik, ReLU, Sigmoid, Softplus, Tanh } from './activation.js';
export {
  Conv1d,
  type Conv1dOptions,
  Conv2d,
  type Conv2dOptions,
  ConvTranspose2d,
  type Initialiser,
  Linear,
  type LinearOptions,
} from './conv.js';
export * as init from './init.js';
export { Buffer, constantParameter, Module, Parameter, parameter, valueAndGrad } from './module.js';
export { BatchNorm1d, BatchNorm2d, type BatchNormOptions, LayerNorm } from './normalization.js';
export { AveragePool2d, GlobalAveragePool2d, MaxPool2d, Upsample } from './pooling.js';
export { Sequential } from './sequential.js';
export { summary } from './summary.js';
export { type LambdaOptions, TVLayer1d, TVLayer2d, type TVLayerOptions } from './tv-layer.js';
