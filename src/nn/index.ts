export { Conv2d, type Conv2dOptions } from './conv.js';
export * as init from './init.js';
export { Buffer, constantParameter, Module, Parameter, parameter, valueAndGrad } from './module.js';
export { ReLU, Sequential } from './sequential.js';
export { type LambdaOptions, TVLayer1d, TVLayer2d, type TVLayerOptions } from './tv-layer.js';
