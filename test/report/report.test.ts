import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { deadLeaves } from '../../src/data/dead-leaves.js';
import { type ChartBlock, type Report, renderReport, writeReport } from '../../src/report/index.js';
import { temporaryFolder } from '../support/folders.js';

const nasty = `<script>alert("1")</script> & 'x' \u0007`;

function chart(points: readonly (readonly [number, number | null])[], log = false): ChartBlock {
  return { kind: 'chart', title: 'Curve', x: { label: 'step' }, y: { label: 'loss', log }, series: [{ name: 'train', points }] };
}

function report(...charts: ChartBlock[]): Report {
  return { title: 'Report', sections: [{ heading: 'Section', blocks: charts }] };
}

/** How many separate strokes the curves of a page have: path commands M. */
function strokes(html: string): number {
  const paths = [...html.matchAll(/<path [^>]* stroke="#[^>]*stroke-width="2"[^>]*/g)].map(([path]) => path);
  return paths.flatMap((path) => [.../ d="([^"]*)"/.exec(path)![1]!.matchAll(/M/g)]).length;
}

const everything: Report = {
  title: nasty,
  summary: nasty,
  footer: nasty,
  sections: [
    {
      heading: nasty,
      text: nasty,
      blocks: [
        { kind: 'settings', entries: [[nasty, nasty]] },
        {
          kind: 'table',
          caption: nasty,
          columns: [nasty, 'PSNR', 'a column with a rather long name', 'another column with a long name', 'SSIM'],
          rows: [
            [nasty, -1.23456, null, NaN, Infinity],
            ['plain', 2, 3, 4, 5],
          ],
          digits: [0, 3],
        },
        {
          kind: 'pictures',
          zoom: { top: 190, left: -5, size: 32 },
          items: [
            { image: deadLeaves({ height: 60, width: 80, channels: 3 }), caption: nasty },
            { image: deadLeaves({ height: 20, width: 1500, minRadius: 4 }), caption: 'wide' },
          ],
        },
        {
          kind: 'chart',
          title: nasty,
          x: { label: nasty },
          y: { label: nasty, log: true },
          series: [
            { name: nasty, points: Array.from({ length: 5000 }, (_, i) => [i, 1 + Math.sin(i / 100)]) },
            { name: 'other', points: [[3, 4]] },
          ],
        },
        chart([]),
      ],
    },
  ],
};

describe('renderReport', () => {
  it('escapes all text and uses nothing from outside', async () => {
    const html = await renderReport(everything);
    expect(html.includes('<script')).toBe(false);
    expect(html.includes('\u0007')).toBe(false);
    const outside = [...html.matchAll(/(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)/g)].map(([, target]) => target!);
    expect(outside.length).toBeGreaterThan(4);
    for (const target of outside) expect(target).toMatch(/^(data:|#)/);
  });

  it('writes numbers with the digits of their column, and signs and gaps readably', async () => {
    const html = await renderReport(everything);
    expect(html.includes('<td>−1.235</td><td>–</td><td>–</td><td>∞</td>')).toBe(true);
  });

  it('gives every drawing its own ids, a title and a description', async () => {
    const html = await renderReport(
      report(
        chart([
          [1, 2],
          [2, 5],
        ]),
        chart([
          [1, 2],
          [2, 3],
        ]),
      ),
    );
    const ids = [...html.matchAll(/\sid="([^"]+)"/g)].map(([, id]) => id!);
    expect(new Set(ids).size).toBe(ids.length);
    for (const [, target] of html.matchAll(/url\(#([^)]+)\)/g)) expect(ids).toContain(target);
    expect(html).toContain('loss over step. train goes from 2 at 1 to 5 at 2.');
  });

  it('breaks curves at gaps and at values a logarithm does not have', async () => {
    const line = (ys: (number | null)[], log = false) =>
      renderReport(
        report(
          chart(
            ys.map((y, i) => [i, y] as const),
            log,
          ),
        ),
      );
    expect(strokes(await line([1, 2, 3, 4, 5, 6]))).toBe(1);
    expect(strokes(await line([1, 2, null, 4, 5, NaN, 7, 8]))).toBe(3);
    expect(strokes(await line([1, 2, 0, 4, -5, 7, 8], true))).toBe(3);
    expect((await line([1, 2, 0, 4, 5], true)).includes('NaN')).toBe(false);
  });

  it('says so where there is nothing to draw', async () => {
    for (const points of [[], [[1, null]], [[NaN, 1]]] as (readonly [number, number | null])[][]) {
      const html = await renderReport(report(chart(points)));
      expect(html).toContain('No data.');
      expect(html).not.toContain('<svg');
    }
  });
});

describe('writeReport', () => {
  it('replaces in one step and refuses impossible places', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'report.html');
    writeFileSync(path, 'old');
    await writeReport(path, report());
    expect(readFileSync(path, 'utf8')).toContain('<h1>Report</h1>');
    await expect(writeReport(join(folder, 'no', 'report.html'), report())).rejects.toThrow('does not exist');
    expect(existsSync(join(folder, 'no'))).toBe(false);
  });
});
