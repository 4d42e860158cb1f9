// npm run build:native — the addon, build/Release/tautgrad.node. Options: --tests (the native tests too),
// --sanitize address|thread (the native tests in a tree of their own).
'use strict';
const { parseArgs } = require('node:util');
const { build, runMain } = require('./native-tree.cjs');

runMain(() => {
  const { values } = parseArgs({ options: { tests: { type: 'boolean' }, sanitize: { type: 'string' } } });
  if (!values.sanitize) build();
  if (values.tests || values.sanitize) build({ sanitize: values.sanitize, target: 'native_tests' });
});
