import { withPrecision } from '../backend/index.js';

/**
 * Mixed precision: runs a training step (forward pass, gradient and update) whose convolutions and matrix products round their factors to
 * bfloat16 and sum in float32. Weights, activations, gradients and the optimiser's state stay float32. Measure the accuracy that it costs.
 */
export function mixedPrecision<T>(body: () => T): T {
  return withPrecision('bfloat16', body);
}
