import { devices } from '../backend/index.js';
import { version } from './version.js';

/** Version, machine and date, for the end of a report. */
export function reportFooter(): string {
  const cpu = devices().find(({ name }) => name === 'cpu');
  const date = new Date().toISOString().slice(0, 10);
  return `tautgrad ${version} · Node.js ${process.versions.node} · ${process.platform}-${process.arch} · ${cpu?.description}, ${cpu?.threads} threads · ${date}`;
}
