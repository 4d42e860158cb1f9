/** What docs/training.md shows is what runs, and its table of options is that of the command. */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { tautgrad } from '../support/command.js';
import { distFile } from '../support/dist.js';
import { temporaryFolder } from '../support/folders.js';
import { folderOfImages } from '../support/image-folders.js';

const root = resolve(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'docs/training.md'), 'utf8');
const source = readFileSync(join(root, 'examples/training.ts'), 'utf8');

describe('docs/training.md', () => {
  it('prints the example that is in examples/', () => {
    expect(page).toContain(`\`\`\`ts\n${source.trim()}\n\`\`\``);
  });

  it('the example trains, and its folder makes a report', { timeout: 120_000 }, async () => {
    const folder = temporaryFolder();
    const { outputText } = ts.transpileModule(source, {
      compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
    });
    const compiled = join(folder, 'example.mjs');
    writeFileSync(compiled, outputText.replace("'tautgrad'", JSON.stringify(pathToFileURL(distFile('index.js')).href)));
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [compiled, await folderOfImages(3), join(folder, 'run')]);
    expect(stderr).toBe('');
    const losses = [...stdout.matchAll(/loss ([\d.]+)/g)].map((m) => Number(m[1]));
    expect(losses).toHaveLength(4);
    // Noise of 0.1: a loss of 0.01 for a network that does nothing.
    expect(losses[3]).toBeLessThan(0.006);
    expect(readdirSync(join(folder, 'run')).sort()).toEqual(['last.safetensors', 'log.jsonl']);
    expect((await tautgrad(['report', 'run'], { cwd: folder })).code).toBe(0);
  });

  // Each table adds to the first one, apart from what the page says is left out.
  it.each([
    ['denoise', 0, []],
    ['tdv', 1, ['--depth']],
    ['tvflow', 2, ['--depth', '--features', '--sigma']],
  ])('names every option of train %s, and no other', async (command, table, without) => {
    const { stdout } = await tautgrad(['train', command, '--help']);
    const options = (text: string): string[] => text.match(/--[a-z][a-z-]+/g) ?? [];
    const tables = page
      .split('| option |')
      .slice(1)
      .map((text) => options(text.slice(0, text.search(/\n[^|]/))));
    const [common, own] = [tables[0] as string[], tables[table] as string[]];
    const named = new Set([...common.filter((name) => !without.includes(name)), ...own]);
    const offered = new Set((stdout.match(/^ {2}--[a-z-]+/gm) ?? []).map((line) => line.trim()));
    expect([...named].sort()).toEqual([...offered].sort());
  });

  it('names the files that a run leaves', { timeout: 60_000 }, async () => {
    const folder = temporaryFolder();
    const validation = await folderOfImages(1);
    const tiny = ['--depth', '2', '--features', '2', '--batch', '1', '--patch', '8', '--steps', '2', '--evaluate-every', '1'];
    expect((await tautgrad(['train', 'denoise', ...tiny, '--validation', validation, '--out', 'run'], { cwd: folder })).code).toBe(0);
    const table = page.slice(page.indexOf('| file |'), page.indexOf('### Reports'));
    const named = [...new Set(table.match(/`[a-z]+\.[a-z]+`/g))].map((name) => name.slice(1, -1)).sort();
    expect(readdirSync(join(folder, 'run')).sort()).toEqual(named);
  });
});
