// The native build trees. `build/` is the addon's, configured through cmake-js; the sanitizers' trees are plain CMake beside it.
// Everything here writes to standard error: standard output belongs to the command that called for the build.
'use strict';
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const root = path.resolve(__dirname, '..');
// The generator that every machine with a compiler has; it says nothing when there is nothing to do.
const generator = 'Unix Makefiles';

class BuildError extends Error {}

function onPath(program) {
  const folders = (process.env.PATH ?? '').split(path.delimiter);
  return path.isAbsolute(program) ? fs.existsSync(program) : folders.some((folder) => folder && fs.existsSync(path.join(folder, program)));
}

/** Throws one sentence that says what to install. */
function requireTools(tools) {
  if (process.platform === 'win32') throw new BuildError('tautgrad has no build for Windows yet: use it inside WSL, Linux or macOS.');
  const compilers = process.env.CXX ? [process.env.CXX.trim().split(/\s+/)[0]] : ['c++', 'g++', 'clang++'];
  const missing = tools.filter((tool) => (tool === 'g++' ? !compilers.some(onPath) : !onPath(tool)));
  if (missing.length > 0)
    throw new BuildError(
      `tautgrad is compiled from source here and needs ${missing.join(' and ')}: install ${missing.length > 1 ? 'them' : 'it'} ` +
        `(Debian and Ubuntu: apt-get install ${missing.join(' ')}) and run npm install again.`,
    );
}

function run(command, args, options = {}) {
  const { status, error, signal } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], ...options });
  if (error) throw new BuildError(`${command} could not be started: ${error.message}`);
  if (status !== 0) throw new BuildError(`${path.basename(command)} ended with ${signal ?? `status ${status}`} (see its output above).`);
}

/** Runs `body` while no other process works in `folder`: test files run in parallel and share the build trees. */
function locked(folder, body) {
  const lock = `${folder}.lock`;
  for (let waited = false; !take(lock); waited = true) {
    if (!waited) process.stderr.write(`waiting for another build in ${path.basename(folder)}/\n`);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
  }
  try {
    return body();
  } finally {
    fs.rmSync(lock, { force: true });
  }
}

/** Creates the lock unless a living process holds it. */
function take(lock) {
  try {
    fs.writeFileSync(lock, identity(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
  }
  let holder = '';
  let age = 0;
  try {
    holder = fs.readFileSync(lock, 'utf8');
    age = Date.now() - fs.statSync(lock).mtimeMs;
  } catch {
    return false; // just given back
  }
  // It is empty for the moment between its creation and its writing; an old empty one was left by a crash.
  const alive = holder === '' ? age < 5000 : holder === identity(Number(holder.split(' ')[0]));
  if (!alive) fs.rmSync(lock, { force: true });
  return false;
}

/** A process number with the start time where the system tells it: numbers are used again, soon so in containers. '' when not alive. */
function identity(pid) {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (error.code !== 'EPERM') return '';
  }
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    return `${pid} ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`;
  } catch {
    return String(pid);
  }
}

/** CMakeCache.txt as an object; null when the tree was never configured. */
function readCache(folder) {
  let text;
  try {
    text = fs.readFileSync(path.join(folder, 'CMakeCache.txt'), 'utf8');
  } catch {
    return null;
  }
  return Object.fromEntries([...text.matchAll(/^([\w.-]+):\w+=(.*)$/gm)].map((match) => [match[1], match[2]]));
}

/** False for a tree that was moved or that another generator wrote: CMake would refuse it. */
function belongsHere(cache, folder) {
  return cache.CMAKE_HOME_DIRECTORY === root && cache.CMAKE_CACHEFILE_DIR === folder && cache.CMAKE_GENERATOR === generator;
}

/** True when the tree was configured for these very options, in this very place. */
function configured(folder, options) {
  const cache = readCache(folder);
  // CMake writes the build files last: a cache without them is an interrupted or failed configuration.
  if (!cache || !belongsHere(cache, folder) || !fs.existsSync(path.join(folder, 'Makefile'))) return false;
  const headers = (cache.CMAKE_JS_INC ?? '').split(';').filter(Boolean);
  return headers.every((header) => fs.existsSync(header)) && Object.entries(options).every(([key, value]) => cache[key] === value);
}

function configure(folder, options, viaCmakeJs) {
  const cache = readCache(folder);
  // A tree without a cache is node-gyp's, or half made.
  if (!cache || !belongsHere(cache, folder)) fs.rmSync(folder, { recursive: true, force: true });
  const entries = Object.entries(options);
  if (viaCmakeJs) {
    const cli = require.resolve('cmake-js/bin/cmake-js', { paths: [root] });
    const args = ['configure', '-O', folder, '-l', 'error', '-G', generator, ...entries.map(([key, value]) => `--CD${key}=${value}`)];
    run(process.execPath, [cli, ...args]);
  } else {
    const args = ['-S', root, '-B', folder, '-G', generator, '-DCMAKE_BUILD_TYPE=Release'];
    run('cmake', [...args, ...entries.map(([key, value]) => `-D${key}=${value}`)]);
  }
}

/** The folder of the tree that `sanitize` names ('' is the addon's own). */
function treeFolder(sanitize = '') {
  return path.join(root, sanitize ? `build-${sanitize}` : 'build');
}

/**
 * libtautgrad_cuda.so, built in a tree of its own.
 * @param {{ architectures?: string, report?: boolean, folder?: string, log?: string }} options architectures as CMAKE_CUDA_ARCHITECTURES
 *   (default: all that are supported); report: print registers and spills of every kernel; log: a file for what the build prints
 * @returns {string} the library's path
 */
function buildCuda({ architectures = '', report = false, folder: name = 'build-cuda', log = '' } = {}) {
  requireTools(['g++', 'make', 'cmake', 'nvcc']);
  const folder = path.join(root, name);
  const options = {
    TG_CUDA: 'ON',
    TG_TESTS: 'OFF',
    TG_CUDA_REPORT: report ? 'ON' : 'OFF',
    ...(architectures ? { TG_CUDA_ARCHITECTURES: architectures } : {}),
    ...(process.env.CI ? { TG_WERROR: 'ON' } : {}),
  };
  locked(folder, () => {
    if (!configured(folder, options)) configure(folder, options, false);
    const output = log ? fs.openSync(log, 'w') : 2;
    // A log says something of every file only when every file is compiled.
    const again = log ? ['--clean-first'] : [];
    run('cmake', ['--build', folder, '--target', 'tautgrad_cuda', ...again, '--parallel', String(os.availableParallelism())], {
      stdio: ['ignore', output, output],
    });
    if (log) fs.closeSync(output);
  });
  return path.join(folder, 'libtautgrad_cuda.so');
}

/**
 * Brings one target of one tree up to date; costs a fraction of a second when nothing changed.
 * @param {{ sanitize?: '' | 'address' | 'thread', target?: string }} what
 * @returns {string} the tree's folder
 */
function build({ sanitize = '', target = 'tautgrad' } = {}) {
  requireTools(['g++', 'make', 'cmake']);
  const folder = treeFolder(sanitize);
  // Outside continuous integration an option that an earlier run has set is left alone: changing it would compile everything again.
  const options = { ...(sanitize ? { TG_SANITIZE: sanitize } : {}), ...(process.env.CI ? { TG_WERROR: 'ON' } : {}) };
  locked(folder, () => {
    if (!configured(folder, options)) configure(folder, options, !sanitize);
    run('cmake', ['--build', folder, '--target', target, '--parallel', String(os.availableParallelism())]);
  });
  return folder;
}

/** Runs `main`, turning a BuildError into its sentence and exit status 1. */
function runMain(main) {
  try {
    main();
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  }
}

module.exports = { BuildError, build, buildCuda, locked, requireTools, root, run, runMain, treeFolder };
