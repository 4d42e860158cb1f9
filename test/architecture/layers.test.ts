// Imports point one way (the order is in rules.ts): cli, report -> models -> train, nn, ... -> ops -> autodiff -> tensor -> backend.
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { violations } from './rules.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Runs the same rules over a small source tree. */
async function violationsOf(files: Record<string, string>): Promise<string[]> {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'tautgrad-layers-')));
  try {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), text);
    }
    return (await violations(folder)).found.map(({ rule, from, to }) => `${rule}: ${from} -> ${to}`).toSorted();
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('the sources keep to the layers, without cycles', async () => {
  const { modules, found } = await violations(root);
  expect(modules).toContain('src/backend/index.ts');
  expect(modules).toContain('src/tensor/tensor.ts');
  expect(found).toEqual([]);
});

test('an upward import is found, for types as well', async () => {
  const files = {
    'src/tensor/a.ts': "import { b } from '../ops/b.js'; export const a = b;",
    'src/ops/b.ts': "import type { M } from '../models/tdv/m.js'; export const b: M = 1;",
    'src/models/tdv/m.ts': 'export type M = number;',
  };
  expect(await violationsOf(files)).toEqual([
    'no-upward-import-from-ops: src/ops/b.ts -> src/models/tdv/m.ts',
    'no-upward-import-from-tensor: src/tensor/a.ts -> src/ops/b.ts',
  ]);
});

test('downward imports and imports within a layer pass', async () => {
  const files = {
    'src/cli/main.ts': "import '../report/page.js';",
    'src/report/page.ts': "import '../models/tdv/m.js';",
    'src/models/tdv/m.ts': "import '../../nn/conv.js';",
    'src/nn/conv.ts': "import '../backend/index.js';",
    'src/backend/index.ts': 'export {};',
  };
  expect(await violationsOf(files)).toEqual([]);
});

test('a cycle, a folder without a layer and an addon loaded elsewhere are found', async () => {
  const files = {
    'src/tv/a.ts': "import '../linalg/b.js';",
    'src/linalg/b.ts': "import '../tv/a.js';",
    'src/misc/c.ts': "import '../tv/a.js';",
    'src/nn/d.ts': "import load from 'node-gyp-build'; load('.');",
    'src/nn/e.ts': "import '../backend/addon.js';",
    'src/backend/addon.ts': 'export {};',
    'node_modules/node-gyp-build/package.json': '{ "name": "node-gyp-build", "main": "index.js" }',
    'node_modules/node-gyp-build/index.js': 'module.exports = () => {};',
  };
  const found = await violationsOf(files);
  expect(found.filter((text) => text.startsWith('no-cycle'))).not.toEqual([]);
  expect(found).toContain('every-folder-has-a-layer: src/misc/c.ts -> src/tv/a.ts');
  expect(found).toContain('the-backend-through-its-index: src/nn/e.ts -> src/backend/addon.ts');
  expect(found.some((text) => text.startsWith('only-the-backend-loads-the-addon: src/nn/d.ts'))).toBe(true);
});
