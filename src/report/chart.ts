import type { TopLevelSpec } from 'vega-lite';
import { escapeHtml, withoutControls } from './escape.js';
import { type Point, thin } from './thin.js';
import type { Axis, ChartBlock } from './types.js';

/** Colours that stand out on white and on near-black, told apart also without red-green vision (after Okabe and Ito). */
const palette = ['#1f83c4', '#e0871b', '#12a37a', '#cc6fa6', '#8a7be0', '#b59f00', '#c8553d', '#6b7680', '#8a5a2b', '#4f8f2f'];

/** Width of a drawing in its own units. */
const width = 440;

/** Height with up to two rows of names, and what each further row adds. */
const plotHeight = 240;
const legendRow = 18;

/** Points per curve: more than the pixels a chart is wide. */
const maxPoints = 600;

/**
 * An inline SVG of the curves, drawn without a browser. It scales with its box; text and grid take the colour of the
 * surrounding text, so that one drawing serves light and dark pages.
 *
 * @param id unique in the page: prefixes the ids inside the drawing
 * @returns '' when there is no point to show
 */
export async function renderChart(chart: ChartBlock, id: string): Promise<string> {
  const series = chart.series
    .map(({ name, points }) => ({ name, points: thin(points.map(cleaned(chart.x, chart.y)).filter(hasX), maxPoints) }))
    .filter(({ points }) => points.some(([, y]) => y !== null));
  if (series.length === 0) return '';
  // Loaded here, because charts are rare and the libraries take a third of a second to load.
  const [vega, vegaLite] = await Promise.all([import('vega'), import('vega-lite')]);
  const view = new vega.View(vega.parse(vegaLite.compile(specification(chart, series)).spec), { renderer: 'none' });
  const svg = await view.toSVG();
  view.finalize();
  return embed(svg, id, chart.title, chart.description ?? describe(chart, series));
}

interface CleanSeries {
  name: string;
  points: Point[];
}

/** Makes gaps of what cannot be drawn. */
function cleaned(x: Axis, y: Axis): (point: Point) => Point {
  const drawable = (v: number | null, axis: Axis): v is number => v !== null && Number.isFinite(v) && (!axis.log || v > 0);
  return ([px, py]) => [drawable(px, x) ? px : NaN, drawable(py, y) ? py : null];
}

function hasX([x]: Point): boolean {
  return !Number.isNaN(x);
}

function specification({ x, y }: ChartBlock, series: readonly CleanSeries[]): TopLevelSpec {
  const values = series.flatMap(({ name, points }) =>
    points.map(([px, py], i) => ({
      series: name,
      x: px,
      y: py,
      // A point without neighbours draws no line: it gets a dot.
      alone: py !== null && (points[i - 1]?.[1] ?? null) === null && (points[i + 1]?.[1] ?? null) === null,
    })),
  );
  const scale = ({ log }: Axis, drawn: readonly number[]) =>
    log
      ? { type: 'log' as const, nice: false, domain: [Math.min(...drawn) / 1.2, Math.max(...drawn) * 1.2] }
      : { zero: false, ...flatDomain(drawn) };
  // An axis of counts from few points would otherwise get labels such as 0.5 steps.
  const xs = values.map((v) => v.x);
  const ys = values.flatMap((v) => v.y ?? []);
  const step = xs.every(Number.isInteger) ? { tickMinStep: 1 } : {};
  const encoding = {
    x: {
      field: 'x',
      type: 'quantitative' as const,
      title: x.label,
      scale: { ...scale(x, xs), nice: false },
      axis: { ...step, tickCount: 6 },
    },
    y: { field: 'y', type: 'quantitative' as const, title: y.label, scale: scale(y, ys), axis: { tickCount: 6 } },
    color: {
      field: 'series',
      type: 'nominal' as const,
      title: null,
      scale: { domain: series.map((s) => s.name), range: series.map((_, i) => palette[i % palette.length]!) },
      legend: series.length > 1 ? { orient: 'top' as const, columns: legendColumns(series), labelLimit: 340 } : null,
    },
  };
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    width,
    height: plotHeight + legendRow * Math.max(0, Math.ceil(series.length / legendColumns(series)) - 2),
    padding: 4,
    autosize: { type: 'fit', contains: 'padding' },
    background: 'transparent',
    data: { values },
    layer: [
      { mark: { type: 'line', strokeWidth: 2, strokeJoin: 'round', invalid: 'break-paths-filter-domains' }, encoding },
      { transform: [{ filter: 'datum.alone' }], mark: { type: 'circle', size: 50, opacity: 1 }, encoding },
    ],
    config: {
      font: 'system-ui, sans-serif',
      view: { stroke: null },
      axis: {
        labelColor: 'currentColor',
        titleColor: 'currentColor',
        tickColor: 'currentColor',
        domainColor: 'currentColor',
        gridColor: 'currentColor',
        labelOpacity: 0.85,
        titleOpacity: 0.85,
        tickOpacity: 0.3,
        domainOpacity: 0.3,
        gridOpacity: 0.12,
        labelFontSize: 13,
        titleFontSize: 13,
        titleFontWeight: 'normal',
        titlePadding: 8,
      },
      legend: { labelColor: 'currentColor', labelFontSize: 13, symbolType: 'stroke', symbolStrokeWidth: 3 },
    },
  };
}

/** As many names in a row as fit beside each other, at about 8 pixels a letter and 40 for the line and the gap; 3 at most. */
function legendColumns(series: readonly CleanSeries[]): number {
  const longest = Math.max(...series.map(({ name }) => name.length));
  return Math.min(3, Math.max(1, Math.floor(width / (8 * longest + 40))));
}

/** A domain of some width around values that are all equal; otherwise the library chooses. */
function flatDomain(values: readonly number[]): { domain?: [number, number] } {
  const value = values[0];
  if (value === undefined || values.some((v) => v !== value)) return {};
  const margin = Math.abs(value) / 10 || 1;
  return { domain: [value - margin, value + margin] };
}

/** Makes the library's drawing fit for a page with others: scalable, named, with ids of its own. */
function embed(svg: string, id: string, title: string, description: string): string {
  const open = svg.indexOf('<svg');
  const end = svg.indexOf('>', open);
  const viewBox = /viewBox="[^"]*"/.exec(svg.slice(open, end))?.[0] ?? '';
  const width = /\bwidth="(\d+)"/.exec(svg.slice(open, end))?.[1] ?? '440';
  const content = withoutControls(svg)
    .slice(end + 1)
    .replace(/\bid="/g, `id="${id}-`)
    .replace(/url\(#/g, `url(#${id}-`)
    .replace(/ aria-[a-z]+="[^"]*"| role="[^"]*"/g, '');
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" ${viewBox} style="width:100%;max-width:${Math.round(Number(width) * 1.5)}px" ` +
    `role="img" aria-labelledby="${id}-title ${id}-desc"><title id="${id}-title">${escapeHtml(title)}</title>` +
    `<desc id="${id}-desc">${escapeHtml(description)}</desc>${content}`
  );
}

function describe({ x, y }: ChartBlock, series: readonly CleanSeries[]): string {
  const number = (v: number): string => String(Number(v.toPrecision(4)));
  const sentences = series.map(({ name, points }) => {
    const drawn = points.filter((p): p is readonly [number, number] => p[1] !== null);
    const [first, last] = [drawn[0]!, drawn[drawn.length - 1]!];
    return `${name} goes from ${number(first[1])} at ${number(first[0])} to ${number(last[1])} at ${number(last[0])}.`;
  });
  return `${y.label} over ${x.label}. ${sentences.join(' ')}`;
}
