/** `tautgrad flow`: pictures, numbers, the page, and how it refuses. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { deadLeaves, type Image, makeImage, readImage, readPicture, writeImage } from '../../src/data/index.js';
import { psnr } from '../../src/metrics/index.js';
import { expectFailure, tautgrad } from '../support/command.js';
import { temporaryFolder } from '../support/folders.js';

interface Told {
  steps: number;
  times: { time: number; file: string; variation: number; errorBound: number }[];
  spectrum: { step: number; times: number[]; amplitudes: number[] } | null;
  filter: { from: number; to: number | null; file: string; lifted: boolean } | null;
}

const flow = async (folder: string, ...args: string[]): Promise<Told> => {
  const { code, stdout, stderr } = await tautgrad(['flow', ...args, '--json'], { cwd: folder });
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout) as Told;
};

/** A square of side 8 and contrast 0.5 on grey. */
const square = (): Image =>
  makeImage(
    1,
    24,
    26,
    Float32Array.from({ length: 24 * 26 }, (_, k) => {
      const [i, j] = [Math.floor(k / 26), k % 26];
      return i >= 8 && i < 16 && j >= 9 && j < 17 ? 0.75 : 0.25;
    }),
  );

it('writes the flow at the times asked for, the filtered picture, and a page with the spectrum', async () => {
  const folder = temporaryFolder();
  await writeImage(join(folder, 'in.png'), square());
  const told = await flow(folder, 'in.png', '--times', '0,0.2,0.5', '--out', 'out', '--filter', 'band', '0.2', '1.5', '--end-time', '2');
  expect(told.times.map(({ time, file }) => [time, file])).toEqual([
    [0, 't-0.png'],
    [0.2, 't-0.2.png'],
    [0.5, 't-0.5.png'],
  ]);
  const [start, early, late] = told.times;
  expect(start?.variation).toBeNull(); // no step was taken yet
  expect(early!.variation).toBeGreaterThan(late!.variation);
  expect(late!.errorBound).toBeGreaterThan(0);
  expect(late!.errorBound).toBeLessThan(1e-3);
  const picture = await readImage(join(folder, 'out/t-0.5.png'));
  expect(picture).toMatchObject({ channels: 1, height: 24, width: 26 });
  // The middle falls at (2 + √π) / s, the corner of the square is gone faster.
  expect(picture.data[12 * 26 + 13]).toBeCloseTo(0.75 - (0.5 * (2 + Math.sqrt(Math.PI))) / 8, 1.5);
  expect(picture.data[8 * 26 + 9]).toBeLessThan(0.47);
  expect(told.filter).toEqual({ from: 0.2, to: 1.5, file: 'band-0.2-1.5.png', lifted: true });
  expect(told.spectrum?.times.length).toBe(50);
  // One structure: the spectrum's peak is its extinction time, about contrast / rate.
  const peak = told.spectrum!.times[told.spectrum!.amplitudes.indexOf(Math.max(...told.spectrum!.amplitudes))] as number;
  expect(peak).toBeGreaterThan(0.7);
  expect(peak).toBeLessThan(1.2);
  expect(readdirSync(join(folder, 'out')).sort()).toEqual(['band-0.2-1.5.png', 'report.html', 't-0.2.png', 't-0.5.png', 't-0.png']);
  const html = readFileSync(join(folder, 'out/report.html'), 'utf8');
  for (const words of [
    'Total-variation flow',
    't = 0.2',
    'Spectrum',
    'filter: t = 0.2',
    'filter: t = 1.5',
    '0.2 &lt; t ≤ 1.5',
    'isotropic',
  ])
    expect(html).toContain(words);
});

it('low and high passes add up to the picture; colour by channel or vectorial; 16 bits stay', async () => {
  const folder = temporaryFolder();
  const leaves = deadLeaves({ height: 30, width: 33, channels: 3, seed: 3, minRadius: 3 });
  await writeImage(join(folder, 'in.png'), leaves, 16);
  const read = (name: string): Promise<Image> => readImage(join(folder, 'out', name));
  const run = async (...more: string[]): Promise<Told> =>
    flow(folder, 'in.png', '--times', '0.2', '--out', 'out', '--bands', '10', ...more);
  expect((await run('--filter', 'low', '0.06')).filter).toMatchObject({ from: 0.06, to: null, file: 'low-0.06.png', lifted: false });
  expect((await run('--filter', 'high', '0.06')).filter).toMatchObject({ from: 0, to: 0.06, file: 'high-0.06.png', lifted: true });
  const [low, high, separate] = [await read('low-0.06.png'), await read('high-0.06.png'), await read('t-0.2.png')];
  const together = makeImage(
    3,
    30,
    33,
    low.data.map((v, i) => v + (high.data[i] as number) - 0.5),
  );
  expect(psnr(together, leaves)).toBeGreaterThan(80);
  expect((await readPicture(join(folder, 'out/t-0.2.png'))).bitDepth).toBe(16);
  const told = await run('--colour', 'vectorial', '--spectral', '--step', '0.05');
  expect(told.steps).toBe(4);
  expect(told.filter).toBeNull();
  const coupled = await read('t-0.2.png');
  expect(psnr(coupled, separate)).toBeLessThan(60);
  expect(readFileSync(join(folder, 'out/report.html'), 'utf8')).toContain('vectorial');
  expect((await run('--anisotropic')).spectrum).toBeNull();
});

it('refuses wrong input in a sentence, and writes nothing', async () => {
  const folder = temporaryFolder();
  await writeImage(join(folder, 'in.png'), square());
  const fails = async (words: string, code: 1 | 2, ...args: string[]): Promise<void> => {
    expect(expectFailure(await tautgrad(['flow', ...args], { cwd: folder }), code)).toContain(words);
  };
  await fails('there is no such file', 1, 'missing.png');
  const filter = 'Expected "low T", "high T" or "band A B" with 0 < A < B for --filter but received';
  await fails(`${filter} "middle 1"`, 2, 'in.png', '--filter', 'middle', '1');
  await fails(`${filter} "band 1 0.5"`, 2, 'in.png', '--filter', 'band', '1', '0.5');
  await fails(`${filter} "low"`, 2, 'in.png', '--filter', 'low');
  await fails('Expected times up to 0.5, the end of the spectrum', 2, 'in.png', '--filter', 'low', '0.7');
  await fails('Expected --spectral or --filter with --end-time', 2, 'in.png', '--end-time', '1');
  await fails('Expected --end-time, or a time after 0', 2, 'in.png', '--times', '0', '--spectral');
  await fails('pixels for 900000000 bands', 2, 'in.png', '--spectral', '--bands', '900000000');
  expect(existsSync(join(folder, 'runs'))).toBe(false);
});
