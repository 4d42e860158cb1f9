// npm run prebuild — prebuilds/<platform>-<arch>/tautgrad.<libc>.node, the binary that the published package carries.
// prebuildify moves what it finds in <cwd>/build/Release, so it works in a staging folder and leaves the addon's own tree alone.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const { root, run, runMain } = require('./native-tree.cjs');

runMain(() => {
  const stage = path.join(root, 'build-prebuild');
  fs.rmSync(stage, { recursive: true, force: true });
  fs.mkdirSync(stage);
  fs.rmSync(path.join(root, 'prebuilds', `${process.platform}-${process.arch}`), { recursive: true, force: true });
  const target = `node@${process.versions.node}`;
  const options = ['--cwd', stage, '--out', root, '--name', 'tautgrad', '-t', target, '--napi', '--strip', '--tag-libc'];
  try {
    run(process.execPath, [require.resolve('prebuildify/bin.js'), ...options, '--node-gyp', path.join(__dirname, 'gyp-shim.cjs')]);
  } finally {
    fs.rmSync(stage, { recursive: true, force: true });
  }
});
