// npm run build:cuda — libtautgrad_cuda.so, copied beside the addon, where the addon looks for it (needs nvcc 13; no GPU).
// Options: --architectures 90-real (default: all that are supported), --report (registers and spills of every kernel).
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const { parseArgs } = require('node:util');
const { buildCuda, runMain, treeFolder } = require('./native-tree.cjs');

runMain(() => {
  const { values } = parseArgs({ options: { architectures: { type: 'string' }, report: { type: 'boolean' } } });
  const built = buildCuda(values);
  const beside = path.join(treeFolder(), 'Release', path.basename(built));
  fs.mkdirSync(path.dirname(beside), { recursive: true });
  fs.copyFileSync(built, beside);
  process.stderr.write(`${path.relative(process.cwd(), beside)}: ${(fs.statSync(beside).size / 1e6).toFixed(1)} MB\n`);
});
