// Why (native/cpu/isa.h): the linker merges weak symbols of the same name. A std::vector method compiled for AVX-512 could become the
// one copy in the addon, and crash a machine without AVX-512. So the objects of an instruction set may define weak symbols only
// inside, or instantiated from, their own namespace.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { cmakeLists } from '../packaging/build-lists.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const sets = process.arch === 'x64' ? ['avx2', 'avx512'] : [];

/** The weak definitions in an object file that do not belong to the instruction set's namespace. */
function strayWeakSymbols(object: string, isa: string): string[] {
  const lines = execFileSync('nm', ['-C', '--defined-only', object], { encoding: 'utf8', maxBuffer: 1 << 28 }).split('\n');
  return lines
    .map((line) => /^[0-9a-f]* +([WVu]) (.*)$/.exec(line)?.[2] ?? '')
    .filter((name) => name !== '' && !name.includes(`tautgrad::cpu::${isa}::`))
    .filter((name) => !name.startsWith('DW.ref.')); // a pointer for the unwinder: data, the same for all
}

function objectsIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.o'))
    .map((file) => join(folder, file));
}

describe('symbol tables of the per-instruction-set objects', () => {
  test.each(sets)('%s defines no weak symbol outside its namespace', (isa) => {
    const objects = objectsIn(join(root, 'build', 'CMakeFiles', `tautgrad_cpu_${isa}.dir`));
    const expected = cmakeLists('cmake/sources.cmake').get('TG_ISA_SOURCES') ?? [];
    for (const source of expected)
      expect(
        objects.some((object) => object.endsWith(`${source}.o`)),
        source,
      ).toBe(true);
    for (const object of objects) expect(strayWeakSymbols(object, isa), object).toEqual([]);
  });

  test('the check sees a standard container, and lets a template over a type of the set pass', () => {
    const folder = mkdtempSync(join(tmpdir(), 'tautgrad-symbols-'));
    try {
      const source = join(folder, 'stray.cpp');
      writeFileSync(
        source,
        `#include <vector>
        namespace shared { template <class T> __attribute__((noinline)) int size_of(T) { return sizeof(T); } }
        namespace tautgrad::cpu::avx2 {
        struct Lane { float x[8]; };
        int own(int n) { return shared::size_of(Lane{}) + n; }
        int stray(int n) { std::vector<int> v; for (int i = 0; i < n; ++i) v.push_back(i); return v[n / 2]; }
        }`,
      );
      const object = join(folder, 'stray.o');
      execFileSync(process.env.CXX ?? 'c++', ['-std=c++17', '-O1', '-c', source, '-o', object]);
      const stray = strayWeakSymbols(object, 'avx2');
      expect(stray.some((name) => name.includes('std::vector<int'))).toBe(true);
      expect(stray.filter((name) => name.includes('size_of'))).toEqual([]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
