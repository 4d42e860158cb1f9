// npm run build:cuda — libtautgrad_cuda.so, copied beside the addon, where the addon looks for it (needs nvcc 13; no GPU).
// Options: --architectures 90-real (default: all that are supported); --report: registers and spills of every kernel into
// bench/cuda-registers.md, from a build of its own for one architecture (default then: 90-real).
'use strict';
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { parseArgs } = require('node:util');
const { usageTable, readUsage } = require('./cuda-registers.cjs');
const { buildCuda, root, runMain, treeFolder } = require('./native-tree.cjs');

runMain(() => {
  const { values } = parseArgs({ options: { architectures: { type: 'string' }, report: { type: 'boolean' } } });
  if (values.report) return report(values.architectures ?? '90-real');
  const built = buildCuda(values);
  const beside = path.join(treeFolder(), 'Release', path.basename(built));
  fs.mkdirSync(path.dirname(beside), { recursive: true });
  fs.copyFileSync(built, beside);
  process.stderr.write(`${path.relative(process.cwd(), beside)}: ${(fs.statSync(beside).size / 1e6).toFixed(1)} MB\n`);
});

function report(architectures) {
  const log = path.join(os.tmpdir(), `tautgrad-cuda-report-${process.pid}.log`);
  buildCuda({ architectures, report: true, folder: 'build-cuda-report', log });
  const kernels = readUsage(fs.readFileSync(log, 'utf8'));
  fs.rmSync(log);
  const table = path.join(root, 'bench/cuda-registers.md');
  fs.writeFileSync(table, usageTable(kernels, architectures));
  process.stderr.write(`${path.relative(process.cwd(), table)}: ${kernels.length} kernels\n`);
}
