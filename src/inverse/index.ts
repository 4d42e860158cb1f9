/** Inverse problems: linear operators with exact adjoints, and solvers. */
export { stackOperators, sumOperators } from './combine.js';
export { adjointError, type NormOptions, operatorNorm } from './measure.js';
export { identity, LinearOperator, linearOperator, type OperatorSpec } from './operator.js';
export { type FbpFilter, filteredBackProjection, RadonOperator, type RadonOptions, radon } from './radon.js';
export { proximalStep, type ResolventOptions, resolvent } from './resolvent.js';
