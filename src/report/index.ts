/** Self-contained HTML reports, and those of training runs. */
export { renderReport, writeReport } from './report.js';
export { type ChartedRun, finalMeans, runCharts } from './run-charts.js';
export { OUTCOME_FILE, REPORT_FILE, type Run, type RunOutcome, readRun, type Scalar, SETTINGS_FILE, writeOutcome } from './run-folder.js';
export { comparisonReport, runReport } from './run-report.js';
export type {
  Axis,
  Block,
  ChartBlock,
  PictureItem,
  PicturesBlock,
  Report,
  Section,
  Series,
  SettingsBlock,
  TableBlock,
} from './types.js';
