// A report page in a real browser: nothing is fetched, nothing is complained about, curves and pictures are visible, and a narrow screen
// shows it as well as a wide one. Skipped where there is no Chromium (set CHROMIUM to name one).
/// <reference lib="dom" />
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addGaussianNoise, deadLeaves } from '../../src/data/index.js';
import { type Report, writeReport } from '../../src/report/index.js';
import { chromiumPath, expectContrast, expectNoSidewaysScrolling, openChromium } from '../support/chromium.js';

const LONG_NAME = 'a-name-without-any-space-that-no-narrow-screen-can-hold-in-one-line-unless-it-is-broken-somewhere';

/** A page with every kind of block, and with the texts that usually break a layout. */
function sampleReport(): Report {
  const clean = deadLeaves({ height: 160, width: 240, channels: 3, seed: 7 });
  const noisy = addGaussianNoise(clean, 25 / 255, 8);
  const steps = Array.from({ length: 400 }, (_, i) => i + 1);
  const zoom = { top: 40, left: 60, size: 48 };
  return {
    title: 'Denoising by a residual network with total-variation layers',
    summary: 'Trained on dead leaves; 1 < 2 & "quotes" stay text.',
    sections: [
      {
        heading: 'Training',
        blocks: [
          {
            kind: 'chart',
            title: 'Loss',
            x: { label: 'step' },
            y: { label: 'mean squared error', log: true },
            series: [
              { name: 'training', points: steps.map((s) => [s, 0.1 / s + 0.001]) },
              { name: 'held out', points: steps.filter((s) => s % 50 === 0).map((s) => [s, 0.12 / s + 0.0012]) },
            ],
          },
          {
            kind: 'chart',
            title: 'λ of each TV layer',
            x: { label: 'step' },
            y: { label: 'λ' },
            series: [1, 2, 3].map((layer) => ({
              name: `layer ${layer}`,
              points: steps.map((s) => [s, 0.1 * layer + Math.tanh(s / 100) / 20]),
            })),
          },
        ],
      },
      {
        heading: 'A held-out picture',
        blocks: [
          {
            kind: 'pictures',
            zoom,
            items: [
              { image: noisy, caption: 'noisy, 20.2 dB' },
              { image: clean, caption: 'clean' },
              { image: deadLeaves({ height: 120, width: 180, seed: 3 }), caption: 'gray' },
            ],
          },
          {
            kind: 'table',
            caption: 'Held-out images',
            columns: ['method', 'PSNR in dB', 'SSIM 7×7', 'SSIM Gaussian 11×11', 'milliseconds per picture', 'parameters'],
            rows: [
              ['noisy', 20.2, 0.41, 0.42, null, 0],
              ['TV with the best single λ', 26.5, 0.74, 0.75, 3.2, 1],
              ['network', 28.1, 0.81, 0.82, 12.5, 112833],
            ],
          },
        ],
      },
      {
        heading: 'Settings',
        blocks: [
          {
            kind: 'settings',
            entries: [
              ['steps', 400],
              ['data folder', `/data/${LONG_NAME}/${LONG_NAME}`],
              ['resume', true],
            ],
          },
        ],
      },
    ],
    footer: `tautgrad, ${LONG_NAME}`,
  };
}

describe.skipIf(chromiumPath === undefined)('a report page in Chromium', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tautgrad-browser-'));
  const file = join(folder, 'report.html');
  const chromium = openChromium();
  const withPage = <T>(width: number, scheme: 'light' | 'dark', body: (page: Page, complaints: string[]) => Promise<T>): Promise<T> =>
    chromium.withPage(file, 'report', width, scheme, body);

  beforeAll(async () => {
    await writeReport(file, sampleReport());
  });

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  describe.each([400, 1400])('%i pixels wide', (width) => {
    test('opens without a complaint and without fetching anything', () =>
      withPage(width, 'light', async (page, complaints) => {
        expect(await page.title()).toBe('Denoising by a residual network with total-variation layers');
        expect(await page.getByText('1 < 2 & "quotes" stay text.').count()).toBe(1);
        expect(complaints).toEqual([]);
      }));

    test('draws the curves', () =>
      withPage(width, 'light', async (page) => {
        const charts = await page.$$eval('figure svg', (drawings) =>
          drawings.map((drawing) => {
            const box = drawing.getBoundingClientRect();
            const curves = [...drawing.querySelectorAll('path')].filter((path) => {
              const { stroke, strokeWidth } = getComputedStyle(path);
              // Axes are short; a curve crosses a good part of the chart and has many points.
              return stroke !== 'none' && parseFloat(strokeWidth) > 0 && (path.getAttribute('d') ?? '').length > 200;
            });
            return {
              width: box.width,
              height: box.height,
              curves: curves.map((curve) => curve.getBoundingClientRect().width / box.width),
              texts: [...drawing.querySelectorAll('text')].map((text) => ({
                text: text.textContent ?? '',
                size: text.getBoundingClientRect().toJSON() as DOMRect,
              })),
            };
          }),
        );
        expect(charts).toHaveLength(2);
        // The held-out curve of the first chart has 8 points only: it is told by its name in the legend.
        expect(charts.map(({ curves }) => curves.length)).toEqual([1, 3]);
        for (const chart of charts) {
          expect(chart.width).toBeGreaterThan(250);
          expect(chart.height).toBeGreaterThan(120);
          for (const share of chart.curves) expect(share).toBeGreaterThan(0.5);
          // Readable: the drawing scales with its box, its letters must not shrink to nothing.
          for (const { text, size } of chart.texts)
            if (text.trim() !== '') expect(Math.max(size.width, size.height), text).toBeGreaterThan(8);
        }
        expect(charts[0]?.texts.map(({ text }) => text)).toEqual(expect.arrayContaining(['training', 'held out', 'mean squared error']));
        expect(charts[1]?.texts.map(({ text }) => text)).toEqual(expect.arrayContaining(['layer 1', 'layer 2', 'layer 3', 'λ']));
      }));

    test('shows the pictures, with the pixels that they were given', () =>
      withPage(width, 'light', async (page) => {
        const pictures = await page.$$eval('img', (images) =>
          images.map((image) => {
            const canvas = document.createElement('canvas');
            canvas.width = image.naturalWidth;
            canvas.height = image.naturalHeight;
            const context = canvas.getContext('2d');
            context?.drawImage(image, 0, 0);
            const box = image.getBoundingClientRect();
            return {
              complete: image.complete,
              natural: [image.naturalWidth, image.naturalHeight],
              shown: [box.width, box.height],
              alt: image.alt,
              corner: [...(context?.getImageData(0, 0, 1, 1).data ?? [])],
            };
          }),
        );
        expect(pictures).toHaveLength(6); // three pictures and their enlarged details
        for (const picture of pictures) {
          expect(picture.complete).toBe(true);
          expect(picture.alt).not.toBe('');
          expect(Math.min(...picture.shown)).toBeGreaterThan(60);
          const [naturalWidth = 0, naturalHeight = 1] = picture.natural;
          const [shownWidth = 0, shownHeight = 1] = picture.shown;
          expect(Math.abs(shownWidth / shownHeight / (naturalWidth / naturalHeight) - 1)).toBeLessThan(0.02);
        }
        expect(pictures.filter(({ natural }) => natural[0] === 240 && natural[1] === 160)).toHaveLength(2);
        const clean = deadLeaves({ height: 160, width: 240, channels: 3, seed: 7 });
        const size = 160 * 240;
        const expected = [0, 1, 2].map((channel) => Math.round(255 * Math.min(1, Math.max(0, clean.data[channel * size] ?? NaN))));
        expect(pictures.find(({ alt }) => alt === 'clean')?.corner).toEqual([...expected, 255]);
      }));

    test('needs no sideways scrolling', () =>
      withPage(width, 'light', async (page) => {
        await expectNoSidewaysScrolling(page);
      }));

    test.each(['light', 'dark'] as const)('text stands out from its background in %s colours', (scheme) =>
      withPage(width, scheme, async (page) => {
        await expectContrast(page);
      }),
    );
  });
});
