// npm run test:native, npm run test:sanitize — builds the native tests and runs them with ctest.
//   node scripts/test-native.cjs [--sanitize address,thread] [name pattern]
'use strict';
const { parseArgs } = require('node:util');
const { build, run, runMain } = require('./native-tree.cjs');

runMain(() => {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { sanitize: { type: 'string', default: '' } } });
  for (const sanitize of values.sanitize.split(',')) {
    const folder = build({ sanitize, target: 'native_tests' });
    const filter = positionals.length > 0 ? ['-R', positionals[0]] : [];
    run('ctest', ['--output-on-failure', '--no-tests=error', ...filter], { cwd: folder });
  }
});
