import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { FileError, type Image, writeImage } from '../../data/index.js';
import { bestTvLambda, tvReconstruct } from '../../inverse/index.js';
import { psnr, ssim } from '../../metrics/index.js';
import { type Report, writeReport } from '../../report/index.js';
import { tidy } from '../../tensor/index.js';
import { reportFooter } from '../footer.js';
import { formatNumber, formatTable, Output } from '../output.js';
import {
  type CommonOptions,
  type CtOptions,
  ctProblem,
  type MriOptions,
  mriProblem,
  type Problem,
  type SrOptions,
  srProblem,
  toImage,
} from './reconstruct-problems.js';

/** `tautgrad reconstruct ct` */
export async function reconstructCt(options: CtOptions): Promise<void> {
  await reconstruct(() => ctProblem(options), options);
}

/** `tautgrad reconstruct mri` */
export async function reconstructMri(options: MriOptions): Promise<void> {
  await reconstruct(() => mriProblem(options), options);
}

/** `tautgrad reconstruct sr` */
export async function reconstructSr(options: SrOptions): Promise<void> {
  await reconstruct(() => srProblem(options), options);
}

interface Result {
  name: string;
  image: Image;
  psnr: number;
  /** Null for images too small for its window. */
  ssim: number | null;
  seconds: number;
  lambda: number | null;
}

async function reconstruct(make: () => Promise<Problem>, options: CommonOptions): Promise<void> {
  const { out: folder } = options;
  const output = new Output(options);
  await mkdir(folder, { recursive: true }).catch((error: unknown) => {
    throw FileError.fromSystem(folder, 'write', error);
  });
  const problem = await make();
  const { operator, truth, measured } = problem;
  try {
    output.note(`${problem.title}: ${problem.source}; ${problem.description}`);
    const clean = toImage(truth);
    const results = [run(problem.direct.name, clean, () => ({ image: tidy(() => toImage(problem.direct.run())), lambda: null }))];
    if (options.method === 'tv') {
      if (options.lambda === 'auto') output.note('Searching the lambda of highest PSNR');
      results.push(run('tv', clean, () => totalVariation(problem, options.lambda)));
    }
    for (const { name, image } of [{ name: 'truth', image: clean }, ...results]) await writeImage(join(folder, `${name}.png`), image);
    const reportPath = join(folder, 'report.html');
    await writeReport(reportPath, makeReport(problem, clean, results, options));
    const { kind, source, description } = problem;
    output.result(
      {
        problem: kind,
        source,
        description,
        folder,
        methods: results.map(({ name, psnr, ssim, lambda, seconds }) => ({ name, psnr, ssim, lambda, seconds })),
        report: reportPath,
      },
      `${formatTable([
        ['method', 'PSNR (dB)', 'SSIM', 'lambda', 'seconds'],
        ...results.map((r) => [
          r.name,
          r.psnr.toFixed(2),
          r.ssim === null ? '–' : r.ssim.toFixed(4),
          r.lambda === null ? '–' : formatNumber(r.lambda, 3),
          formatNumber(r.seconds, 2),
        ]),
      ])}\n\nReport: ${reportPath}`,
    );
  } finally {
    for (const value of [truth, measured, operator]) value.dispose();
  }
}

function run(name: string, clean: Image, method: () => { image: Image; lambda: number | null }): Result {
  const started = performance.now();
  const { image, lambda } = method();
  const seconds = (performance.now() - started) / 1000;
  const windowFits = Math.min(clean.height, clean.width) >= 11;
  return { name, image, psnr: psnr(image, clean), ssim: windowFits ? ssim(image, clean) : null, seconds, lambda };
}

function totalVariation({ operator, measured, truth }: Problem, lambda: number | 'auto'): { image: Image; lambda: number } {
  return tidy(() => {
    if (lambda !== 'auto') return { image: toImage(tvReconstruct(operator, measured, lambda).x), lambda };
    const best = bestTvLambda(operator, measured, truth);
    return { image: toImage(best.x), lambda: best.lambda };
  });
}

const TITLES: Record<string, string> = {
  fbp: 'filtered back-projection',
  'zero-filling': 'zero filling',
  bicubic: 'bicubic interpolation',
  tv: 'total variation',
};

function makeReport(problem: Problem, clean: Image, results: readonly Result[], options: CommonOptions): Report {
  const zoom = Math.min(64, clean.height, clean.width);
  const title = (name: string): string => TITLES[name] ?? name;
  return {
    title: problem.title,
    summary: `${problem.source}; ${problem.description}.`,
    sections: [
      {
        heading: 'Result',
        blocks: [
          {
            kind: 'table',
            caption: `All pixels, values not clipped.${options.lambda === 'auto' && options.method === 'tv' ? ' λ is the one of highest PSNR on this picture: the best that total variation can do.' : ''}`,
            columns: ['Method', 'PSNR (dB)', 'SSIM', 'λ', 'seconds'],
            rows: results.map((r) => [title(r.name), r.psnr, r.ssim, r.lambda === null ? null : formatNumber(r.lambda, 3), r.seconds]),
            digits: [0, 2, 4, 0, 2],
          },
          {
            kind: 'pictures',
            zoom: { top: (clean.height - zoom) / 2, left: (clean.width - zoom) / 2, size: zoom },
            items: [
              { image: clean, caption: 'truth' },
              ...results.map((r) => ({ image: r.image, caption: `${title(r.name)}: ${r.psnr.toFixed(2)} dB` })),
            ],
          },
        ],
      },
      {
        heading: 'Settings',
        blocks: [
          {
            kind: 'settings',
            entries: [['image', problem.source], ...problem.settings, ['noise', options.noise], ['seed', options.seed]],
          },
        ],
      },
    ],
    footer: reportFooter(),
  };
}
