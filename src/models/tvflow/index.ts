export {
  type FlowReference,
  type FlowScore,
  networkPsnr,
  referenceImages,
  referenceOf,
  referenceSeries,
  type SeriesOptions,
  type SeriesScore,
  scoreFlow,
  scoreSeries,
  seriesTimes,
  summarise,
} from './evaluation.js';
export { type SpaceTimeOptions, type SpaceTimeSolution, solveSpaceTime, spaceTimeGradient, spaceTimeLoss } from './joint.js';
export { describeFlowNet, isFlowNetFile, loadFlowNet } from './load.js';
export { type FlowLossOptions, type FlowLossTerms, type FlowState, flowLoss } from './loss.js';
export { type NetworkOptions, type Prediction, TVFlowNet } from './network.js';
export { divergence, type PhiBoundary, restrictField, spatialGradient } from './operators.js';
export { predictImages, predictSeries } from './predict.js';
export { batchLoss, type FlowTrainingOptions, flowTrainer } from './training.js';
