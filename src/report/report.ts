import { writeFileAtomic } from '../data/atomic-write.js';
import { renderChart } from './chart.js';
import { escapeHtml } from './escape.js';
import { renderPictures } from './pictures.js';
import { styleSheet } from './style.js';
import type { Block, ChartBlock, Report, Section, SettingsBlock, TableBlock } from './types.js';

/**
 * Writes a report as one HTML file that needs nothing else: no script, no font, no picture from outside. Replaces an
 * existing file in one step.
 *
 * @throws FileError when the path cannot be written
 */
export async function writeReport(path: string, report: Report): Promise<void> {
  await writeFileAtomic(path, await renderReport(report));
}

/** The HTML text of a report. */
export async function renderReport({ title, summary, sections, footer }: Report): Promise<string> {
  const bodies: string[] = [];
  for (const [i, section] of sections.entries()) bodies.push(await renderSection(section, `s${i}`));
  // The policy makes sure that the page stays self-contained, whatever a later block renders.
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>${escapeHtml(title)}</title>
<style>${styleSheet}</style>
</head>
<body>
<header>
<h1>${escapeHtml(title)}</h1>
${summary === undefined ? '' : `<p>${escapeHtml(summary)}</p>`}
</header>
<main>
${bodies.join('\n')}
</main>
${footer === undefined ? '' : `<footer>${escapeHtml(footer)}</footer>`}
</body>
</html>
`;
}

async function renderSection({ heading, text, blocks }: Section, id: string): Promise<string> {
  const parts: string[] = [];
  let charts: string[] = [];
  // Neighbouring charts share a grid, so that they stand side by side where there is room.
  const closeCharts = (): void => {
    if (charts.length > 0) parts.push(`<div class="charts">${charts.join('\n')}</div>`);
    charts = [];
  };
  for (const [i, block] of blocks.entries()) {
    if (block.kind === 'chart') {
      charts.push(await renderChartCard(block, `${id}-b${i}`));
    } else {
      closeCharts();
      parts.push(await renderBlock(block));
    }
  }
  closeCharts();
  const paragraph = text === undefined ? '' : `<p>${escapeHtml(text)}</p>`;
  return `<section aria-labelledby="${id}">\n<h2 id="${id}">${escapeHtml(heading)}</h2>\n${paragraph}\n${parts.join('\n')}\n</section>`;
}

async function renderChartCard(chart: ChartBlock, id: string): Promise<string> {
  const svg = await renderChart(chart, id);
  return `<figure class="card"><figcaption>${escapeHtml(chart.title)}</figcaption>${svg === '' ? '<p>No data.</p>' : svg}</figure>`;
}

async function renderBlock(block: Exclude<Block, ChartBlock>): Promise<string> {
  switch (block.kind) {
    case 'pictures':
      return renderPictures(block);
    case 'table':
      return renderTable(block);
    case 'settings':
      return renderSettings(block);
  }
}

function renderTable({ caption, columns, rows, digits = [], marked = [], wrap = false }: TableBlock): string {
  const head = columns.map((label) => `<th scope="col">${escapeHtml(label)}</th>`).join('');
  const body = rows.map((row, index) => {
    const cells = row.map((value, i) => {
      const text = escapeHtml(formatCell(value, digits[i] ?? 2));
      return i === 0 ? `<th scope="row">${text}</th>` : `<td>${text}</td>`;
    });
    return `<tr${marked.includes(index) ? ' class="marked"' : ''}>${cells.join('')}</tr>`;
  });
  // A table wider than the page scrolls in its own box, which the keyboard must be able to reach.
  return `<div class="card table" role="region" tabindex="0" aria-label="${escapeHtml(caption)}">
<table${wrap ? ' class="wrap"' : ''}><caption>${escapeHtml(caption)}</caption><thead><tr>${head}</tr></thead>
<tbody>${body.join('\n')}</tbody></table></div>`;
}

function formatCell(value: string | number | null, digits: number): string {
  if (value === null || (typeof value === 'number' && Number.isNaN(value))) return '–';
  if (typeof value === 'string') return value;
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  // The sign is the typographic minus, as wide as the digits.
  return value.toFixed(digits).replace(/^-/, '−');
}

function renderSettings({ entries }: SettingsBlock): string {
  const rows = entries.map(([name, value]) => `<div><dt>${escapeHtml(name)}</dt><dd>${escapeHtml(String(value))}</dd></div>`);
  return `<div class="card"><dl>${rows.join('\n')}</dl></div>`;
}
