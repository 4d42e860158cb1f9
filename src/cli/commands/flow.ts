import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { FileError, type Image, makeImage, type Picture, readPicture, writePicture } from '../../data/index.js';
import { type Block, type PictureItem, type Report, type Section, writeReport } from '../../report/index.js';
import { Tensor, tidy } from '../../tensor/index.js';
import { type Flow, flowAsync, type Spectrum, spectral } from '../../tv/index.js';
import { UsageError } from '../failure.js';
import { reportFooter } from '../footer.js';
import { formatNumber, formatTable, Output } from '../output.js';

export interface FlowCommandOptions {
  times: number[];
  out: string;
  colour: 'by-channel' | 'vectorial';
  anisotropic?: boolean;
  accuracy?: number;
  step?: number;
  spectral?: boolean;
  filter?: string[];
  bands: number;
  endTime?: number;
  json?: boolean;
}

/** Values of the bands and their pictures may take this much memory. */
const MOST_BYTES = 2 ** 32;

/** Bands without the residual have mean 0: their pictures are lifted to the middle grey. */
const LIFT = 0.5;

interface Moment {
  time: number;
  file: string;
  image: Image;
  /** J(u), of all channels. */
  variation: number;
  /** Root mean square over pixels and channels. */
  errorBound: number;
}

interface Part {
  name: string;
  /** Times in (from, to]; to is null for the residual and everything after `from`. */
  from: number;
  to: number | null;
  image: Image;
  lifted: boolean;
}

interface Decomposition {
  times: number[];
  step: number;
  /** Σ |φ(t)| over pixels and channels. */
  amplitudes: number[];
  parts: Part[];
  filter: (Part & { file: string }) | null;
}

/** `tautgrad flow IN`: the total-variation flow of a picture at given times, its spectrum and filters, and a page. */
export async function flowCommand(input: string, options: FlowCommandOptions): Promise<void> {
  const { out: folder, times } = options;
  const output = new Output(options);
  const filter = options.filter === undefined ? null : parseFilter(options.filter);
  const wantsSpectrum = options.spectral === true || filter !== null;
  if (!wantsSpectrum && options.endTime !== undefined)
    throw new UsageError('Expected --spectral or --filter with --end-time but received neither');
  const endTime = options.endTime ?? (times.at(-1) as number);
  if (wantsSpectrum && !(endTime > 0)) throw new UsageError('Expected --end-time, or a time after 0, for the spectrum but received none');
  if (filter !== null && Math.max(filter.from, filter.to ?? 0) > endTime)
    throw new UsageError(
      `Expected times up to ${endTime}, the end of the spectrum, for --filter but received ${options.filter?.join(' ')}`,
    );
  const picture = await readPicture(input);
  const { image } = picture;
  if (wantsSpectrum && 12 * image.data.length * (options.bands + 2) > MOST_BYTES)
    throw new UsageError(
      `Expected an image of at most ${Math.floor(MOST_BYTES / 12 / (options.bands + 2) / image.channels)} pixels for ${options.bands} bands but received ${image.height * image.width}: use fewer --bands, or a smaller picture`,
    );
  await mkdir(folder, { recursive: true }).catch((error: unknown) => {
    throw FileError.fromSystem(folder, 'write', error);
  });
  const started = performance.now();
  const settings = {
    isotropic: options.anisotropic !== true,
    channels: options.colour === 'vectorial' ? ('coupled' as const) : ('independent' as const),
  };
  const f = Tensor.from(image.data, [image.channels, image.height, image.width]);
  try {
    const steps = {
      ...(options.step !== undefined && { step: options.step }),
      ...(options.accuracy !== undefined && { accuracy: options.accuracy }),
    };
    const flow = await flowAsync(f, { times, ...settings, ...steps });
    const moments = momentsOf(flow, image);
    flow.u.dispose();
    const found = wantsSpectrum ? decompose(f, image, { endTime, bands: options.bands, ...settings }, filter) : null;
    const seconds = (performance.now() - started) / 1000;
    const write = (name: string, result: Image): Promise<void> => writePicture(join(folder, name), { ...picture, image: result });
    for (const moment of moments) await write(moment.file, moment.image);
    if (found?.filter) await write(found.filter.file, found.filter.image);
    const report = join(folder, 'report.html');
    await writeReport(report, makeReport(input, picture, moments, found, flow.steps.length, options));
    output.result(
      {
        input,
        folder,
        width: image.width,
        height: image.height,
        channels: image.channels,
        steps: flow.steps.length,
        times: moments.map(({ time, file, variation, errorBound }) => ({ time, file, variation, errorBound })),
        spectrum: found && { step: found.step, times: found.times, amplitudes: found.amplitudes },
        filter: found?.filter
          ? { from: found.filter.from, to: found.filter.to, file: found.filter.file, lifted: found.filter.lifted }
          : null,
        report,
        seconds,
      },
      [
        formatTable([
          ['time', 'TV', 'error bound', 'file'],
          ...moments.map((m) => [formatNumber(m.time), formatNumber(m.variation), m.errorBound.toExponential(1), m.file]),
        ]),
        `${flow.steps.length} steps, ${formatNumber(seconds, 2)} s`,
        ...(found?.filter ? [`${found.filter.name}: ${found.filter.file}`] : []),
        `Report: ${report}`,
      ].join('\n'),
    );
  } finally {
    f.dispose();
  }
}

const asImage = (x: Tensor, like: Image): Image => makeImage(like.channels, like.height, like.width, x.toTypedArray() as Float32Array);

function momentsOf({ times, u, steps, errorBound }: Flow, image: Image): Moment[] {
  const values = u.dataSync() as Float32Array;
  const size = image.data.length;
  return Array.from(times, (time, k) => {
    const last = steps.findLast((step) => step.time === time);
    const bounds = errorBound[k] as Float64Array;
    return {
      time,
      file: `t-${formatNumber(time, 6)}.png`,
      image: makeImage(image.channels, image.height, image.width, values.slice(k * size, (k + 1) * size)),
      variation: last === undefined ? Number.NaN : last.variation.reduce((a, b) => a + b, 0),
      errorBound: Math.sqrt(bounds.reduce((a, b) => a + b * b, 0) / image.channels),
    };
  });
}

interface BandFilter {
  name: string;
  from: number;
  to: number | null;
}

/** `low T`, `high T`, `band A B`. */
function parseFilter(words: readonly string[]): BandFilter {
  const [kind, ...limits] = words;
  const numbers = limits.map((text) => (/^(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : Number.NaN));
  const [a, b] = numbers as [number, number];
  const valid = numbers.every((value) => value > 0 && value < Number.POSITIVE_INFINITY);
  if (valid && numbers.length === 1 && kind === 'low') return { name: `low-${formatNumber(a, 6)}`, from: a, to: null };
  if (valid && numbers.length === 1 && kind === 'high') return { name: `high-${formatNumber(a, 6)}`, from: 0, to: a };
  if (valid && numbers.length === 2 && kind === 'band' && b > a)
    return { name: `band-${formatNumber(a, 6)}-${formatNumber(b, 6)}`, from: a, to: b };
  throw new UsageError(`Expected "low T", "high T" or "band A B" with 0 < A < B for --filter but received "${words.join(' ')}"`);
}

function decompose(
  f: Tensor,
  image: Image,
  options: Parameters<typeof spectral>[1] & { endTime: number; bands: number },
  filter: BandFilter | null,
): Decomposition {
  return tidy(() => {
    const spectrum = spectral(f, options);
    const part = (name: string, from: number, to: number | null): Part => ({
      name,
      from,
      to,
      image: tidy(() => asImage(to === null ? spectrum.low(from) : spectrum.band(from, to), image)),
      lifted: to !== null,
    });
    const edges = filter === null ? octaves(spectrum) : [...new Set([0, filter.from, filter.to ?? filter.from])];
    const parts = edges
      .slice(1)
      .map((to, k) => part(`${formatNumber(edges[k] as number)} < t ≤ ${formatNumber(to)}`, edges[k] as number, to));
    const last = edges.at(-1) as number;
    parts.push(part(`t > ${formatNumber(last)}, with the rest`, last, null));
    const bands = spectrum.times.length;
    const each = spectrum.amplitudes.size / bands;
    const amplitudes = Float64Array.from(spectrum.amplitudes.toTypedArray());
    return {
      times: [...spectrum.times],
      step: spectrum.step,
      amplitudes: Array.from({ length: bands }, (_, k) => amplitudes.slice(k * each, (k + 1) * each).reduce((a, b) => a + b, 0)),
      parts: parts.map((p) => (p.lifted ? { ...p, image: lift(p.image) } : p)),
      filter: filter && filtered(filter, parts),
    };
  });
}

function filtered(filter: BandFilter, parts: readonly Part[]): Part & { file: string } {
  const found = parts.find((p) => p.from === filter.from && p.to === filter.to) as Part;
  return { ...found, name: filter.name, file: `${filter.name}.png`, image: found.lifted ? lift(found.image) : found.image };
}

const lift = (image: Image): Image => ({ ...image, data: image.data.map((v) => v + LIFT) });

/** The ends of 1, 2, 4 … bands in a row: fixed dyadic bands (Grossmann et al., TVspecNET). */
function octaves({ times }: Spectrum): number[] {
  const edges = [0];
  for (let count = 1; count < times.length; count = 2 * count + 1) edges.push(times[count - 1] as number);
  return [...edges, times.at(-1) as number];
}

function makeReport(
  input: string,
  { image }: Picture,
  moments: readonly Moment[],
  found: Decomposition | null,
  steps: number,
  options: FlowCommandOptions,
): Report {
  const side = Math.min(64, image.height, image.width);
  const zoom = { top: (image.height - side) / 2, left: (image.width - side) / 2, size: side };
  const time = (t: number): string => `t = ${formatNumber(t)}`;
  const film: PictureItem[] = [{ image, caption: 'input' }, ...moments.map((m) => ({ image: m.image, caption: time(m.time) }))];
  const sections: Section[] = [
    {
      heading: 'The flow',
      text: 'Every region shrinks at the rate of its perimeter over its area: small and faint structures go first, edges of what stays remain sharp.',
      blocks: [
        { kind: 'pictures', zoom, items: film },
        {
          kind: 'table',
          caption:
            'The error bound is certified: the root mean square distance of the picture from the flow at that time, for values 0 … 1.',
          columns: ['Time', 'Total variation', 'Error bound', 'File'],
          rows: moments.map((m) => [
            formatNumber(m.time),
            Number.isNaN(m.variation) ? null : formatNumber(m.variation),
            m.errorBound.toExponential(1),
            m.file,
          ]),
        },
      ],
    },
  ];
  if (found !== null) sections.push(spectrumSection(found, zoom));
  sections.push({
    heading: 'Settings',
    blocks: [
      {
        kind: 'settings',
        entries: [
          ['image', input],
          ['size', `${image.width} × ${image.height}, ${image.channels === 1 ? 'gray' : 'colour'}`],
          ['variation', options.anisotropic ? 'anisotropic' : 'isotropic'],
          ...(image.channels > 1 ? [['colour', options.colour] as const] : []),
          ['steps', steps],
        ],
      },
    ],
  });
  return {
    title: 'Total-variation flow',
    summary: `${input} at ${moments.length} ${moments.length === 1 ? 'time' : 'times'} up to ${formatNumber(moments.at(-1)?.time ?? 0)}, for values 0 … 1.`,
    sections,
    footer: reportFooter(),
  };
}

function spectrumSection({ times, amplitudes, parts, filter }: Decomposition, zoom: { top: number; left: number; size: number }): Section {
  const top = Math.max(...amplitudes);
  const marks = filter === null ? [] : [filter.from, filter.to].filter((t): t is number => t !== null && t > 0);
  const blocks: Block[] = [
    {
      kind: 'chart',
      title: 'Spectrum',
      x: { label: 'time' },
      y: { label: 'S(t) = Σ |φ(t)|' },
      series: [
        { name: 'S', points: times.map((t, k) => [t, amplitudes[k] as number] as const) },
        ...marks.map((t) => ({
          name: `filter: t = ${formatNumber(t)}`,
          points: [
            [t, 0],
            [t, top],
          ] as const,
        })),
      ],
    },
    {
      kind: 'pictures',
      zoom,
      items: parts.map((part) => ({ image: part.image, caption: `${part.name}${part.lifted ? ' (grey = 0)' : ''}` })),
    },
  ];
  const what =
    filter === null
      ? ''
      : ` The filter keeps ${filter.to === null ? `what outlives ${formatNumber(filter.from)}` : `the times from ${formatNumber(filter.from)} to ${formatNumber(filter.to)}`}: ${filter.file}${filter.lifted ? ', lifted by half the grey range' : ''}.`;
  return { heading: 'Spectrum and decomposition', text: `The parts add up to the picture.${what}`, blocks };
}
