// The package's install script. In a clone it builds the addon with CMake; in the published package it does nothing when the shipped
// binary fits, and compiles the CPU addon with node-gyp (binding.gyp) when none does. Installing without scripts is fine whenever
// the shipped binary fits: the loader finds it by itself.
'use strict';
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const root = path.resolve(__dirname, '..');

function resolvable(id, from) {
  try {
    return require.resolve(id, { paths: [from] });
  } catch {
    return null;
  }
}

/** Null when an addon loads, else the reason why none does. */
function loadFailure() {
  try {
    require('node-gyp-build')(root);
    return null;
  } catch (error) {
    return error.message.split('\n')[0];
  }
}

/** node-gyp is not a dependency: npm carries one and names it in the environment of its scripts. */
function findNodeGyp() {
  const named = process.env.npm_config_node_gyp;
  if (named && fs.existsSync(named)) return named;
  const beside = process.env.npm_execpath ? path.dirname(process.env.npm_execpath) : root;
  return resolvable('node-gyp/bin/node-gyp.js', root) ?? resolvable('node-gyp/bin/node-gyp.js', beside);
}

/** Node's own headers, when they are installed with it: node-gyp then needs no download. */
function headersArgument() {
  const prefix = path.resolve(fs.realpathSync(process.execPath), '..', '..');
  const there = fs.existsSync(path.join(prefix, 'include', 'node', 'node_api.h'));
  return there && !process.env.npm_config_nodedir ? [`--nodedir=${prefix}`] : [];
}

function compileWithNodeGyp(reason) {
  const install = 'apt-get install g++ make python3 on Debian and Ubuntu';
  if (process.platform === 'win32') return `tautgrad has no build for Windows yet: use it inside WSL, Linux or macOS.`;
  const nodeGyp = findNodeGyp();
  if (!nodeGyp)
    return `tautgrad has no binary for ${process.platform}-${process.arch} (${reason}) and no node-gyp was found: install it through npm, which brings node-gyp.`;
  const { status } = spawnSync(process.execPath, [nodeGyp, 'rebuild', '--jobs=max', ...headersArgument()], { cwd: root, stdio: 'inherit' });
  if (status !== 0)
    return `tautgrad has no binary for ${process.platform}-${process.arch} and could not be compiled: it needs a C++17 compiler, make and python3 (${install}).`;
  const failure = loadFailure();
  return failure && `tautgrad was compiled but does not load: ${failure}`;
}

function install() {
  // A clone: the sources are the truth, and an older binary lying about must not hide them. The published package lacks the tree script.
  if (fs.existsSync(path.join(root, 'scripts', 'native-tree.cjs')) && resolvable('cmake-js/package.json', root)) {
    const { BuildError, build } = require('./native-tree.cjs');
    try {
      build();
    } catch (error) {
      if (error instanceof BuildError) return error.message;
      throw error;
    }
    const failure = loadFailure();
    return failure && `tautgrad was compiled but does not load: ${failure}`;
  }
  const reason = process.env.npm_config_build_from_source === 'true' ? 'a build from source was asked for' : loadFailure();
  return reason && compileWithNodeGyp(reason);
}

const failure = install();
if (failure) {
  process.stderr.write(`${failure}\n`);
  process.exitCode = 1;
}
