// What nvcc says of every kernel (ptxas, --resource-usage), as a table: bench/cuda-registers.md.
'use strict';
const { spawnSync } = require('node:child_process');

/** The plain names of mangled ones, in order. */
function demangle(names) {
  const { stdout, status } = spawnSync('c++filt', { input: names.join('\n'), encoding: 'utf8' });
  const plain = status === 0 ? stdout.trimEnd().split('\n') : names;
  return plain.map((name) =>
    name
      .replaceAll('(anonymous namespace)::', '')
      .replaceAll(/\b(?:tautgrad|cuda)::/g, '')
      .replace(/^void /, '')
      .replace(/>\(.*$/, '>')
      .replace(/\(.*$/, ''),
  );
}

/**
 * Reads the compiler's lines.
 * @returns {{ kernel: string, registers: number, stack: number, stores: number, loads: number, shared: number }[]} by name; bytes per thread
 *   (stack, spill stores, spill loads) and per block (shared)
 */
function readUsage(log) {
  const found = [];
  let current = null;
  for (const line of log.split('\n')) {
    const entry = /Compiling entry function '([^']+)'/.exec(line);
    if (entry) {
      current = { kernel: entry[1], registers: 0, stack: 0, stores: 0, loads: 0, shared: 0 };
      found.push(current);
    }
    if (!current) continue;
    const spills = /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line);
    if (spills) [current.stack, current.stores, current.loads] = spills.slice(1).map(Number);
    const used = /Used (\d+) registers/.exec(line);
    if (!used) continue;
    current.registers = Number(used[1]);
    current.shared = Number(/(\d+) bytes smem/.exec(line)?.[1] ?? 0);
    current = null;
  }
  const names = demangle(found.map((k) => k.kernel));
  return found.map((k, i) => ({ ...k, kernel: names[i] })).sort((a, b) => (a.kernel < b.kernel ? -1 : a.kernel > b.kernel ? 1 : 0));
}

/** The table as Markdown. */
function usageTable(kernels, architectures) {
  const spilling = kernels.filter((k) => k.stores + k.loads > 0);
  const rows = kernels.map((k) => `| \`${k.kernel}\` | ${k.registers} | ${k.stack} | ${k.stores} / ${k.loads} | ${k.shared} |`);
  return [
    '# Registers and spills of the GPU kernels',
    '',
    `\`npm run build:cuda -- --report\` writes this table: ${kernels.length} kernels for ${architectures}, ${spilling.length} of them with spills.`,
    'Stack and spills in bytes per thread, static shared memory in bytes per block.',
    '',
    '| kernel | registers | stack | spill stores / loads | shared memory |',
    '|---|---|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}

module.exports = { readUsage, usageTable };
