export { prox2dAsync } from './async.js';
export { lambdaMax, totalVariation } from './measure.js';
export { type Prox1dOptions, prox1d } from './prox1d.js';
export { type Prox2dOptions, prox2d, type Solution2d, solve2d } from './prox2d.js';
export { type Prox3dOptions, prox3d, type Solution3d, solve3d } from './prox3d.js';
export type { SolverReport } from './report.js';
export { type RofOptions, type RofSolution, rof, solveRof } from './rof.js';
