// npm run lint — types, Biome for TypeScript and JSON, clang-format for C++ where it is installed. npm run format — writes the layout.
'use strict';
const { execFileSync, spawnSync } = require('node:child_process');
const path = require('node:path');

const root = path.resolve(__dirname, '..');
const fix = process.argv.includes('--fix');
let failed = false;

function check(title, command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error?.code === 'ENOENT') {
    process.stderr.write(`${title}: ${command} is not installed, skipped\n`);
    return;
  }
  if (status !== 0) {
    process.stderr.write(`${title}: failed\n`);
    failed = true;
  }
}

// Tracked files and new ones, but nothing that git ignores and nothing just deleted.
const native = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '--deduplicate', 'native', 'test/native'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => /\.(h|hpp|cpp|cu|cuh)$/.test(file) && require('node:fs').existsSync(path.join(root, file)));
const bin = path.join(root, 'node_modules', '.bin');

check('biome', path.join(bin, 'biome'), ['check', '--error-on-warnings', ...(fix ? ['--write'] : [])]);
check('clang-format', 'clang-format', [...(fix ? ['-i'] : ['--dry-run', '-Werror']), ...native]);
if (!fix) check('types', path.join(bin, 'tsc'), ['--noEmit']);
process.exitCode = failed ? 1 : 0;
