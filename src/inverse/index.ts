/** Inverse problems: linear operators with exact adjoints, and solvers. */

export { type AcceleratedGradientOptions, type AcceleratedGradientResult, acceleratedGradient } from './accelerated-gradient.js';
export { type BlurOptions, blur, gaussianKernel } from './blur.js';
export { stackOperators, sumOperators } from './combine.js';
export { type Energy, leastSquares, sumEnergies } from './least-squares.js';
export { diagonal, inpainting } from './mask.js';
export { adjointError, type NormOptions, operatorNorm } from './measure.js';
export { type MriOptions, mri } from './mri.js';
export { identity, LinearOperator, linearOperator, type OperatorSpec } from './operator.js';
export { sheppLogan } from './phantom.js';
export { type FbpFilter, filteredBackProjection, RadonOperator, type RadonOptions, radon } from './radon.js';
export { type BicubicOptions, bicubicResize, decimation } from './resampling.js';
export { proximalStep, type ResolventOptions, resolvent } from './resolvent.js';
export { addNoise, coilSensitivities, type MaskOptions, samplingMask } from './simulate.js';
export { bestLambda, bestTvLambda, type Trial, type Tuning } from './tune.js';
export { type TvReconstruction, type TvReconstructOptions, tvReconstruct } from './tv-reconstruct.js';
