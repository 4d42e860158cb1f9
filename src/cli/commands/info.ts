import { devices } from '../../backend/index.js';
import { formatTable, Output } from '../output.js';
import { version } from '../version.js';

/** `tautgrad info` */
export async function info(options: { json?: boolean }): Promise<void> {
  const found = devices();
  const cpu = found.find(({ name }) => name === 'cpu');
  const gpu = found.find(({ name }) => name === 'cuda');
  const platform = `${process.platform}-${process.arch}`;
  new Output(options).result(
    {
      version,
      node: process.versions.node,
      platform,
      instructionSet: cpu?.description,
      threads: cpu?.threads,
      gpu: gpu?.available ? gpu.description : null,
      devices: found,
    },
    formatTable(
      [
        ['tautgrad', version],
        ['Node.js', `${process.versions.node} (${platform})`],
        ['instruction set', cpu?.description ?? 'unknown'],
        ['threads', String(cpu?.threads ?? 'unknown')],
        ['GPU', gpu?.description.replace(/^No GPU/, 'none') ?? 'none'],
        ...(gpu?.libraries ?? []).map((library) => ['', library]),
      ].map(([name, value]) => [(name ? `${name}:` : '').padEnd(17) + value!]),
    ),
  );
}
