// npm run build:cuda — libtautgrad_cuda.so beside the addon (needs nvcc 13; no GPU). Options: --architectures 90-real (default: all that
// are supported), --report (registers and spills of every kernel).
'use strict';
const fs = require('node:fs');
const { parseArgs } = require('node:util');
const { buildCuda, runMain } = require('./native-tree.cjs');

runMain(() => {
  const { values } = parseArgs({ options: { architectures: { type: 'string' }, report: { type: 'boolean' } } });
  const library = buildCuda(values);
  process.stderr.write(`${library}: ${(fs.statSync(library).size / 1e6).toFixed(1)} MB\n`);
});
