export { Adam, type AdamOptions, AdamW } from './adam.js';
export { clipByGlobalNorm, GradientAccumulator, globalNorm, MovingAverage } from './gradients.js';
export {
  Optimizer,
  type OptimizerOptions,
  type OptimizerState,
  type ParameterGroup,
  type StepOptions,
  type Trainable,
} from './optimizer.js';
export * as projections from './projections.js';
export * as schedules from './schedules.js';
export { SGD, type SGDOptions } from './sgd.js';
