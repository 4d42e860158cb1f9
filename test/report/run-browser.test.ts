// The pages of runs in a real browser: one run, and two side by side. Skipped where there is no Chromium.
/// <reference lib="dom" />
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addGaussianNoise, deadLeaves, writeImage } from '../../src/data/index.js';
import { comparisonReport, readRun, runReport, writeOutcome, writeReport } from '../../src/report/index.js';
import type { StepRecord } from '../../src/train/index.js';
import { chromiumPath, expectContrast, expectNoSidewaysScrolling, openChromium } from '../support/chromium.js';

/** A run's folder as training leaves it, with the long names that usually break a layout. */
async function makeRun(folder: string, name: string, rate: number): Promise<string> {
  const path = join(folder, name);
  await mkdir(path);
  const records = Array.from({ length: 300 }, (_, i): StepRecord => {
    const step = i + 1;
    const metrics = {
      psnr: 20 + 8 * (1 - Math.exp((-rate * step) / 30)) + Math.sin(step),
      'lambda.input': 0.02,
      'lambda.output': rate / 100,
    };
    const validation = step % 100 === 0 ? { 'validation.psnr': 25 + rate + step / 100 } : {};
    return {
      step,
      loss: 0.01 / (1 + rate * step) + 1e-3,
      learningRate: rate,
      samplesPerSecond: 400 + step,
      metrics: { ...metrics, ...validation },
    };
  });
  writeFileSync(join(path, 'log.jsonl'), records.map((record) => `${JSON.stringify(record)}\n`).join(''));
  const settings = {
    command: 'train denoise',
    data: `/data/${'a-folder-with-a-long-name/'.repeat(4)}`,
    sigma: 25,
    learningRate: rate,
    clip: null,
  };
  writeFileSync(join(path, 'run.json'), JSON.stringify(settings));
  const clean = deadLeaves({ height: 120, width: 160, seed: 4 });
  const pictures = { clean, noisy: addGaussianNoise(clean, 0.1, 5), network: addGaussianNoise(clean, 0.02 / rate, 6) };
  for (const [file, image] of Object.entries(pictures)) await writeImage(join(path, `${file}.png`), image);
  await writeOutcome(path, {
    title: 'Training of a denoiser',
    summary: `After 300 steps at ${rate}.`,
    facts: { weights: 1234 },
    table: {
      caption: 'Means',
      columns: ['method', 'PSNR (dB)', 'SSIM'],
      rows: [
        ['noisy', 20, 0.3],
        [`network ${rate}`, 28, 0.8],
      ],
      digits: [0, 2, 3],
    },
    pictures: Object.keys(pictures).map((file) => ({ name: file, file: `${file}.png`, caption: file })),
    zoom: { top: 30, left: 40, size: 48 },
    footer: 'tautgrad',
  });
  return path;
}

describe.skipIf(chromiumPath === undefined)('the pages of runs in Chromium', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tautgrad-runs-'));
  const chromium = openChromium();
  const pages = [
    { name: 'run', charts: 6, curves: [2, 2, 1, 2, 1, 2], pictures: 6 },
    { name: 'comparison', charts: 6, curves: [2, 2, 2, 4, 2, 2], pictures: 8 },
  ];

  beforeAll(async () => {
    const a = await readRun(await makeRun(folder, 'a-run-with-a-name-that-does-not-fit-anywhere-first', 0.5));
    const b = await readRun(await makeRun(folder, 'second', 1));
    await writeReport(join(folder, 'run.html'), runReport(a, 'footer'));
    await writeReport(join(folder, 'comparison.html'), comparisonReport(a, b, 'footer'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  describe.each([400, 1400])('%i pixels wide', (width) => {
    test.each(pages)(
      'the page of a $name draws its curves inside their boxes and shows its pictures',
      ({ name, charts, curves, pictures }) =>
        chromium.withPage(join(folder, `${name}.html`), name, width, 'light', async (page, complaints) => {
          expect(complaints).toEqual([]);
          await expectNoSidewaysScrolling(page);
          const drawings = await page.$$eval('figure svg', (all) =>
            all.map((drawing) => {
              const box = drawing.getBoundingClientRect();
              const names = [...drawing.querySelectorAll('text')].filter((text) => text.getBoundingClientRect().right > box.right + 1);
              // Curves are two units thick; axes and grid lines are thinner.
              const lines = [...drawing.querySelectorAll('path')].filter(
                (path) => path.getAttribute('stroke-width') === '2' && path.getAttribute('d'),
              );
              return { curves: lines.length, outside: names.map((text) => text.textContent) };
            }),
          );
          expect(drawings).toHaveLength(charts);
          expect(drawings.map((drawing) => drawing.curves)).toEqual(curves);
          expect(drawings.flatMap(({ outside }) => outside)).toEqual([]);
          expect(await page.$$eval('img', (all) => all.filter((image) => image.complete && image.naturalWidth > 0).length)).toBe(pictures);
        }),
    );

    test('a comparison marks the settings that differ, and only those', () =>
      chromium.withPage(join(folder, 'comparison.html'), 'comparison', width, 'light', async (page) => {
        const rows = await page.$$eval('table.wrap tbody tr', (all) =>
          all.map((row) => ({
            text: row.firstElementChild?.textContent,
            colour: getComputedStyle(row.firstElementChild!).backgroundColor,
          })),
        );
        const plain = rows.find(({ text }) => text === 'noise (of 255)')?.colour;
        expect(rows.filter(({ colour }) => colour !== plain).map(({ text }) => text)).toEqual(['learning rate']);
      }));

    test.each(['light', 'dark'] as const)('text stands out from its background in %s colours', (scheme) =>
      chromium.withPage(join(folder, 'comparison.html'), 'comparison', width, scheme, expectContrast),
    );
  });
});
