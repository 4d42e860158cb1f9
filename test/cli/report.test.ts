/** `tautgrad report`: pages made again from run folders, comparisons, and what is said about folders that hold no run. */
import { appendFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { expectFailure, tautgrad } from '../support/command.js';
import { temporaryFolder } from '../support/folders.js';
import { folderOfImages } from '../support/image-folders.js';

const tiny = ['--depth', '2', '--features', '2', '--batch', '2', '--patch', '16', '--steps', '4'];

async function run(folder: string, out: string, ...args: string[]): Promise<void> {
  expect((await tautgrad(['train', 'denoise', ...tiny, '--out', out, ...args], { cwd: folder })).code).toBe(0);
}

describe('tautgrad report', { timeout: 240_000 }, () => {
  it('makes the page of a run again, byte for byte', async () => {
    const folder = temporaryFolder();
    await run(folder, 'run', '--validation', await folderOfImages(2, 1, 40, 9), '--evaluate-every', '2');
    const page = join(folder, 'run/report.html');
    const before = readFileSync(page, 'utf8');
    rmSync(page);
    const { code, stdout } = await tautgrad(['report', 'run', '--json'], { cwd: folder });
    expect([code, JSON.parse(stdout)]).toEqual([0, { runs: ['run'], report: 'run/report.html' }]);
    expect(readFileSync(page, 'utf8')).toBe(before);
    // Loss, PSNR, PSNR of the validation images, lambdas, learning rate, throughput; three pictures with their details.
    expect(before.match(/<svg /g)).toHaveLength(6);
    expect(before.match(/<img /g)).toHaveLength(6);
    for (const words of [
      'λ of the TV layers',
      'input layer',
      'output layer',
      'Learning rate',
      'samples per second',
      'Means over 2 validation images',
    ])
      expect(before).toContain(words);
    expect((await tautgrad(['report', 'run', '--out', 'other.html'], { cwd: folder })).stdout).toBe('Report: other.html\n');
    expect(readFileSync(join(folder, 'other.html'), 'utf8')).toBe(before);
  });

  it('shows a run that has not ended, and one that no command started', async () => {
    const folder = temporaryFolder();
    await run(folder, 'run');
    for (const file of ['result.json', 'clean.png', 'noisy.png', 'network.png']) rmSync(join(folder, 'run', file));
    // A line that is being written.
    appendFileSync(join(folder, 'run/log.jsonl'), '{"step":5,"lo');
    expect((await tautgrad(['report', 'run'], { cwd: folder })).code).toBe(0);
    const page = (): string => readFileSync(join(folder, 'run/report.html'), 'utf8');
    expect(page()).toContain('Not finished: 4 steps so far.');
    rmSync(join(folder, 'run/run.json'));
    expect((await tautgrad(['report', 'run'], { cwd: folder })).code).toBe(0);
    expect(page()).toContain('<dt>model</dt><dd>tvlayers.DnCNNTV</dd>');
    expect(page()).toContain('<dt>noise (of 255)</dt>');
  });

  it('compares two runs: curves, numbers, pictures, and the settings that differ', async () => {
    const folder = temporaryFolder();
    const validation = ['--validation', await folderOfImages(2, 1, 40, 9)];
    await run(folder, 'first', ...validation);
    await run(folder, 'second', ...validation, '--learning-rate', '0.01', '--clip', '1');
    const { code, stdout } = await tautgrad(['report', 'first', 'second'], { cwd: folder });
    expect([code, stdout]).toEqual([0, 'Report: comparison.html\n']);
    const html = readFileSync(join(folder, 'comparison.html'), 'utf8');
    expect(html).toContain('<h1>first and second compared</h1>');
    // Curves of both runs in every chart.
    const legends = html.split('<svg ').slice(1);
    expect(legends).toHaveLength(6);
    for (const drawing of legends) for (const name of ['first', 'second']) expect(drawing).toMatch(new RegExp(`>(input layer: )?${name}<`));
    const marked = [...html.matchAll(/<tr class="marked"><th scope="row">([^<]*)<\/th><td>([^<]*)<\/td><td>([^<]*)<\/td><td>≠</g)];
    expect(marked.map(([, ...cells]) => cells)).toEqual([
      ['learning rate', '0.001', '0.01'],
      ['largest gradient norm', '–', '1'],
    ]);
    expect(html).toContain('<th scope="row">seed</th><td>0</td><td>0</td><td></td>');
    // The clean and the noisy picture are the same in both: once each, with a detail, beside two results.
    expect(html.match(/<img /g)).toHaveLength(8);
    for (const text of ['first: network: ', 'second: network: ', 'first: DnCNN_TV', 'second: DnCNN_TV', 'samples per second, median'])
      expect(html).toContain(text);
    // The same run twice differs in nothing.
    await tautgrad(['report', 'first', 'first', '--out', 'same.html'], { cwd: folder });
    const same = readFileSync(join(folder, 'same.html'), 'utf8');
    expect(same).toContain('All settings are the same.');
    expect(same).toContain('first (1) and first (2) compared');
  });

  it('says in a sentence what is wrong with a folder', async () => {
    const folder = temporaryFolder();
    await run(folder, 'run');
    mkdirSync(join(folder, 'empty'));
    writeFileSync(join(folder, 'file'), '');
    const fail = async (...args: string[]) => expectFailure(await tautgrad(['report', ...args], { cwd: folder }));
    expect(await fail('none')).toBe('Cannot read the run none: it does not exist');
    expect(await fail('file')).toBe('Cannot read the run file: it is not a folder');
    expect(await fail('empty')).toBe('Expected the folder of a training run but empty holds no log.jsonl');
    expect(await fail('run', 'empty')).toBe('Expected the folder of a training run but empty holds no log.jsonl');
    expect(await fail('run', '--out', 'no/page.html')).toMatch(/^Cannot write no\/page\.html: .*does not exist$/);
    const broken = async (file: string, content: string): Promise<string> => {
      cpSync(join(folder, 'run'), join(folder, 'broken'), { recursive: true });
      writeFileSync(join(folder, 'broken', file), content);
      const sentence = await fail('broken');
      rmSync(join(folder, 'broken'), { recursive: true });
      return sentence;
    };
    expect(await broken('log.jsonl', '')).toBe('Expected a run with finished steps but the log of broken is still empty');
    expect(await broken('log.jsonl', '{"step":1}\n{"step":2}\n')).toBe('Cannot read broken/log.jsonl: line 1 is damaged');
    expect(await broken('run.json', '[1')).toBe('Cannot read broken/run.json: it is damaged');
    expect(await broken('run.json', '{"sigma":[]}')).toMatch(/^Cannot read broken\/run\.json: it is damaged \(sigma: .+\)$/);
    expect(await broken('result.json', '{"title":5}')).toMatch(/^Cannot read broken\/result\.json: it is damaged \(title: .+\)$/);
    expect(await broken('network.png', 'text')).toBe('Cannot read broken/network.png: it is not an image that can be understood');
    expect(existsSync(join(folder, 'comparison.html'))).toBe(false);
  });
});
