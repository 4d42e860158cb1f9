export {
  type Adjoint,
  adjointStates,
  atTime,
  bestStoppingTime,
  type ControlOptions,
  type StoppingOptions,
  scalarGradients,
  stoppingCondition,
  weightGradients,
} from './adjoint.js';
export {
  type Eigenfunction,
  type EigenOptions,
  eigenfunction,
  type Sensitivity,
  sensitivity,
  type TimePoint,
  timeCurve,
  variationSurface,
} from './analysis.js';
export { Kernel, MacroBlock, MicroBlock, PointKernel, ScaleKernel } from './blocks.js';
export { denoiseImage } from './denoise.js';
export { deepVariation, energy } from './energy.js';
export { energyAndGradient, energyGradient } from './gradient.js';
export { describeNetwork, isNetworkFile, isPublishedTDV, type LoadOptions, loadNetwork } from './load.js';
export { type NetworkOptions, type RunOptions, startFrom, VariationalNetwork } from './network.js';
export {
  bestDataWeight,
  type LearnedReconstructOptions,
  reconstructWith,
  regularizerEnergy,
  suggestedDataWeight,
} from './reconstruction.js';
export { projectK, type RegularizerOptions, TotalDeepVariation } from './regularizer.js';
export { type DataTerm, type StepSizes, schemeStep } from './scheme.js';
export {
  downsampling,
  initialImage,
  type SuperResolutionTrainingOptions,
  superResolutionTrainer,
  superResolve,
} from './super-resolution.js';
export { type NetworkTrainingOptions, networkTrainer } from './training.js';
export { type MacroWeights, type MicroWeights, SMALLEST_SIDE, type Weights } from './weights.js';
