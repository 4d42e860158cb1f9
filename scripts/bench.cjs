// npm run bench -- NAME [arguments] — compiles bench/ and runs one benchmark against the built package (they import 'tautgrad').
'use strict';
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { BuildError, root, run, runMain } = require('./native-tree.cjs');

runMain(() => {
  const [name, ...rest] = process.argv.slice(2);
  const names = fs
    .readdirSync(path.join(root, 'bench'))
    .filter((file) => file.endsWith('.ts'))
    .map((file) => path.basename(file, '.ts'));
  if (!names.includes(name))
    throw new BuildError(`Expected the name of a benchmark (${names.join(', ')}) but received ${name ?? 'nothing'}`);
  run(process.execPath, [require.resolve('typescript/bin/tsc'), '-p', 'tsconfig.bench.json']);
  const { status } = spawnSync(process.execPath, [path.join('build-bench', 'bench', `${name}.js`), ...rest], {
    cwd: root,
    stdio: 'inherit',
  });
  process.exitCode = status ?? 1;
});
