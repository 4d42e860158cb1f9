export { type FlowLossOptions, type FlowLossTerms, type FlowState, flowLoss } from './loss.js';
export { type NetworkOptions, type Prediction, TVFlowNet } from './network.js';
export { divergence, type PhiBoundary, restrictField, spatialGradient } from './operators.js';
