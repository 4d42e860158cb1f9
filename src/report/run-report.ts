/** The page of one training run, and the page that holds two side by side. */
import type { Image } from '../data/index.js';
import { finalMeans, runCharts } from './run-charts.js';
import type { Run, Scalar } from './run-folder.js';
import type { Block, PictureItem, Report, Section, TableBlock } from './types.js';

/** How settings are called on a page; others go by their own name. */
const labels: Readonly<Record<string, string>> = {
  sigma: 'noise (of 255)',
  minutes: 'training time (minutes)',
  seconds: 'training time (s)',
  depth: 'convolution layers',
  features: 'channels inside',
  batch: 'patches in a step',
  batchSize: 'patches in a step',
  patch: 'patch side (pixels)',
  patchSize: 'patch side (pixels)',
  warmUp: 'warm-up steps',
  decay: 'decay factor',
  decayEvery: 'steps between decays',
  clip: 'largest gradient norm',
  accumulate: 'batches per step',
  ema: 'decay of averaged weights',
  evaluateEvery: 'steps between evaluations',
  patience: 'patience (evaluations)',
};

/** @param footer for runs that have not ended and so left none */
export function runReport(run: Run, footer: string): Report {
  const { outcome, history } = run;
  const result: Block[] = [...(outcome?.table ? [table(outcome.table)] : []), ...pictureBlock(run, run.pictures)];
  return {
    title: outcome?.title ?? `Training run ${run.name}`,
    summary: outcome?.summary ?? `Not finished: ${history.length} steps so far.`,
    sections: [
      ...section('Result', result),
      { heading: 'Training', blocks: runCharts([{ label: '', history }]) },
      ...section('Settings', settingsBlock(run)),
    ],
    footer: outcome?.footer ?? footer,
  };
}

/** Curves overlaid, numbers and pictures side by side, differing settings marked. */
export function comparisonReport(a: Run, b: Run, footer: string): Report {
  const names = runLabels(a, b);
  const runs = [
    { run: a, label: names[0] },
    { run: b, label: names[1] },
  ];
  return {
    title: `${names[0]} and ${names[1]} compared`,
    summary: runs
      .map(({ run, label }) => `${label}: ${run.outcome?.summary ?? `not finished, ${run.history.length} steps so far.`}`)
      .join(' '),
    sections: [
      { heading: 'Result', blocks: [metricsTable(a, b, names), ...scoreTables(runs), ...pictureBlock(a, pairedPictures(runs))] },
      { heading: 'Training', blocks: runCharts(runs.map(({ run, label }) => ({ label, history: run.history }))) },
      { heading: 'Settings', blocks: [settingsTable(a, b, names)] },
    ],
    footer,
  };
}

function section(heading: string, blocks: readonly Block[]): Section[] {
  return blocks.length === 0 ? [] : [{ heading, blocks }];
}

/** The folders' names, or their paths where the names are the same. */
function runLabels(a: Run, b: Run): [string, string] {
  if (a.name !== b.name) return [a.name, b.name];
  return a.folder !== b.folder ? [a.folder, b.folder] : [`${a.name} (1)`, `${b.name} (2)`];
}

type Table = Omit<TableBlock, 'kind' | 'digits'> & { digits?: readonly number[] | undefined };

function table({ digits, ...rest }: Table): TableBlock {
  return { kind: 'table', ...rest, ...(digits !== undefined && { digits }) };
}

function pictureBlock({ outcome }: Run, items: readonly PictureItem[]): Block[] {
  if (items.length === 0) return [];
  return [{ kind: 'pictures', items, ...(outcome?.zoom && { zoom: outcome.zoom }) }];
}

/** Settings and facts by their names on the page, without what does not apply. */
function allSettings({ settings, outcome }: Run): Map<string, Exclude<Scalar, null>> {
  const all = new Map<string, Exclude<Scalar, null>>();
  for (const [name, value] of Object.entries({ ...settings, ...outcome?.facts })) {
    const words = name.replace(/[A-Z]/g, (c) => ` ${c.toLowerCase()}`);
    if (value !== null) all.set(labels[name] ?? words, value);
  }
  return all;
}

function settingsBlock(run: Run): Block[] {
  const entries = [...allSettings(run)];
  return entries.length === 0 ? [] : [{ kind: 'settings', entries }];
}

function settingsTable(a: Run, b: Run, names: readonly [string, string]): TableBlock {
  const [left, right] = [allSettings(a), allSettings(b)];
  const keys = [...new Set([...left.keys(), ...right.keys()])];
  const differs = keys.map((key) => left.get(key) !== right.get(key));
  const cell = (value: Scalar | undefined): string => (value === undefined ? '–' : String(value));
  const count = differs.filter(Boolean).length;
  return {
    kind: 'table',
    caption: count === 0 ? 'All settings are the same.' : `${count} of ${keys.length} settings differ; they are marked with ≠.`,
    columns: ['setting', ...names, ''],
    rows: keys.map((key, i) => [key, cell(left.get(key)), cell(right.get(key)), differs[i] ? '≠' : '']),
    marked: differs.flatMap((differ, i) => (differ ? [i] : [])),
    wrap: true,
  };
}

/** What both runs came to, from their logs. */
function metricsTable(a: Run, b: Run, names: readonly [string, string]): TableBlock {
  const number = (value: number | undefined, digits: number): string =>
    value === undefined || !Number.isFinite(value) ? '–' : value.toFixed(digits).replace(/^-/, '−');
  const rows: string[][] = [];
  const add = (name: string, value: (run: Run) => number | undefined, show: (v: number | undefined) => string): void => {
    const [x, y] = [value(a), value(b)];
    const known = [x, y].map((v) => v !== undefined && Number.isFinite(v));
    if (!known[0] && !known[1]) return;
    const difference = known[0] && known[1] ? y! - x! : undefined;
    rows.push([name, show(x), show(y), difference !== undefined && difference > 0 ? `+${show(difference)}` : show(difference)]);
  };
  add(
    'steps',
    ({ history }) => history.at(-1)?.step,
    (v) => number(v, 0),
  );
  add(
    'loss, mean of the last 50 steps',
    ({ history }) => finalMeans(history).loss,
    (v) => (v === undefined ? '–' : v.toExponential(2).replaceAll('-', '−')),
  );
  add(
    'PSNR of a batch, mean of the last 50 steps (dB)',
    ({ history }) => finalMeans(history).psnr,
    (v) => number(v, 2),
  );
  add(
    'best PSNR on the validation images (dB)',
    ({ history }) => maximum(history.map(({ metrics }) => metrics['validation.psnr'])),
    (v) => number(v, 2),
  );
  add(
    'samples per second, median',
    ({ history }) => median(history.map(({ samplesPerSecond }) => samplesPerSecond)),
    (v) => number(v, 0),
  );
  const lambdas = new Set(
    [a, b].flatMap(({ history }) => Object.keys(history.at(-1)?.metrics ?? {}).filter((k) => k.startsWith('lambda.'))),
  );
  for (const key of lambdas) {
    add(
      `λ of the ${key.slice('lambda.'.length)} layer at the end`,
      ({ history }) => history.at(-1)?.metrics[key],
      (v) => number(v, 4),
    );
  }
  return { kind: 'table', caption: 'From the logs of both runs', columns: ['', ...names, 'difference'], rows, wrap: true };
}

interface Labelled {
  readonly run: Run;
  readonly label: string;
}

/** One table of both runs' scores where their columns agree, else one each. */
function scoreTables(runs: readonly Labelled[]): TableBlock[] {
  const tables = runs.flatMap(({ run, label }) => (run.outcome?.table ? [{ label, table: run.outcome.table }] : []));
  const [first, second] = tables;
  if (first === undefined) return [];
  const together = second !== undefined && first.table.columns.join('\n') === second.table.columns.join('\n');
  if (!together) return tables.map((t) => table({ ...t.table, caption: `${t.label}: ${t.table.caption}` }));
  const captions = [...new Set(tables.map((t) => t.table.caption))];
  // A row that both have, such as that of the noisy images, is shown once.
  const key = (row: readonly (string | number | null)[]): string => JSON.stringify(row);
  const [ofFirst, ofSecond] = [first, second].map((t) => new Set(t.table.rows.map(key)));
  const shared = first.table.rows.filter((row) => ofSecond!.has(key(row)));
  const own = tables.flatMap(({ label, table: { rows } }) =>
    rows.filter((row) => !(ofFirst!.has(key(row)) && ofSecond!.has(key(row)))).map(([name, ...cells]) => [`${label}: ${name}`, ...cells]),
  );
  return [table({ ...first.table, caption: captions.join(' '), rows: [...shared, ...own] })];
}

/** The pictures of the same name next to each other; those that are the same in both runs once. */
function pairedPictures(runs: readonly Labelled[]): PictureItem[] {
  const names = [...new Set(runs.flatMap(({ run }) => run.pictures.map(({ name }) => name)))];
  return names.flatMap((name) => {
    const shown = runs.flatMap(({ run, label }) => run.pictures.filter((p) => p.name === name).map((p) => ({ ...p, label })));
    const [first, second] = shown;
    if (first !== undefined && second !== undefined && sameImage(first.image, second.image)) {
      return [{ image: first.image, caption: first.caption }];
    }
    return shown.map(({ image, caption, label }) => ({ image, caption: `${label}: ${caption}` }));
  });
}

function sameImage(a: Image, b: Image): boolean {
  return a.width === b.width && a.height === b.height && a.channels === b.channels && a.data.every((v, i) => v === b.data[i]);
}

function maximum(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((v): v is number => v !== undefined && Number.isFinite(v));
  return known.length === 0 ? undefined : known.reduce((x, y) => Math.max(x, y));
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((x, y) => x - y);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
