import { join } from 'node:path';
import { comparisonReport, REPORT_FILE, readRun, runReport, writeReport } from '../../report/index.js';
import { reportFooter } from '../footer.js';
import { Output } from '../output.js';

export interface ReportOptions {
  out?: string;
  json?: boolean;
}

/** `tautgrad report`: the page of a run made again from its folder, or two runs on one page. */
export async function report(folder: string, other: string | undefined, options: ReportOptions): Promise<void> {
  const run = await readRun(folder);
  const second = other === undefined ? null : await readRun(other);
  const path = options.out ?? (second === null ? join(folder, REPORT_FILE) : 'comparison.html');
  await writeReport(path, second === null ? runReport(run, reportFooter()) : comparisonReport(run, second, reportFooter()));
  new Output(options).result({ runs: other === undefined ? [folder] : [folder, other], report: path }, `Report: ${path}`);
}
