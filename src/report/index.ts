/** Self-contained HTML reports. */
export { renderReport, writeReport } from './report.js';
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
