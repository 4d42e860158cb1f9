#!/usr/bin/env node
// What prebuildify calls instead of node-gyp: brings the CMake build up to date and copies its results to <cwd>/build/Release, where
// prebuildify looks. The addon uses Node-API only, so the target version among the arguments does not matter.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const { build, runMain } = require('./native-tree.cjs');

runMain(() => {
  const release = path.join(build(), 'Release');
  const output = path.resolve('build', 'Release');
  fs.mkdirSync(output, { recursive: true });
  for (const file of fs.readdirSync(release))
    if (/\.(node|so|dylib)$/.test(file)) fs.copyFileSync(path.join(release, file), path.join(output, file));
});
