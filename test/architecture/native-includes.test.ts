// Includes point one way too: addon -> cpu, cuda -> kernels; backend.h stands beside them all. kernels/ is the mathematics that host
// and device share, so it knows no backend; a backend knows neither the addon nor the other backend.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const native = fileURLToPath(new URL('../../native', import.meta.url));

const forbidden: Record<string, string[]> = {
  kernels: ['cpu', 'cuda', 'addon'],
  cpu: ['cuda', 'addon'],
  cuda: ['cpu', 'addon'],
  addon: ['cpu', 'cuda', 'kernels'], // the addon sees backends through backend.h only
};

/** The folders under native/ that `text`, a file at `path` (relative to native/), must not include but does. */
function strayIncludes(path: string, text: string): string[] {
  const home = path.split('/')[0] ?? '';
  const targets = [...text.matchAll(/^\s*#\s*include\s*"([^"]+)"/gm)].map((match) => match[1] ?? '');
  return targets.filter((target) => {
    // A quoted name is looked up beside the file first, then from native/ and the root, the include folders of the build.
    const candidates = [normalize(join(dirname(path), target)), normalize(target), relative('native', normalize(target))];
    return candidates.some((candidate) => (forbidden[home] ?? []).includes(candidate.split('/')[0] ?? '') && candidate.includes('/'));
  });
}

describe('native includes', () => {
  const files = readdirSync(native, { recursive: true, encoding: 'utf8' }).filter((file) => /\.(h|hpp|cpp|cu|cuh)$/.test(file));

  test('point from addon to backend.h, from backends to kernels, and nowhere else', () => {
    expect(files).toContain('backend.h');
    const stray = files.flatMap((file) =>
      strayIncludes(file, readFileSync(join(native, file), 'utf8')).map((target) => `${file} includes ${target}`),
    );
    expect(stray).toEqual([]);
  });

  test('every folder has a rule', () => {
    const folders = new Set(files.filter((file) => file.includes('/')).map((file) => file.split('/')[0] ?? ''));
    expect([...folders].filter((folder) => !(folder in forbidden))).toEqual([]);
  });

  test('a stray include is seen in each way of writing it', () => {
    expect(strayIncludes('kernels/line.hpp', '#include "../cpu/parallel.h"')).toEqual(['../cpu/parallel.h']);
    expect(strayIncludes('kernels/line.hpp', '  # include "cpu/parallel.h"')).toEqual(['cpu/parallel.h']);
    expect(strayIncludes('cpu/a.cpp', '#include "native/addon/environment.h"')).toEqual(['native/addon/environment.h']);
    expect(strayIncludes('cpu/a.cpp', '#include "../kernels/line.hpp"\n#include "simd.hpp"\n#include <cpu/x.h>')).toEqual([]);
    expect(strayIncludes('addon/a.cpp', '#include "../backend.h"\n#include "environment.h"')).toEqual([]);
  });
});
