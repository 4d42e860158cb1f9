import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { FileError, type Image, writeImage } from '../../data/index.js';
import { bestTvLambda, tvReconstruct } from '../../inverse/index.js';
import { psnr, ssim } from '../../metrics/index.js';
import { type Report, writeReport } from '../../report/index.js';
import { type Tensor, tidy } from '../../tensor/index.js';
import { UsageError } from '../failure.js';
import { reportFooter } from '../footer.js';
import { formatNumber, formatTable, Output } from '../output.js';
import { loadForProblem, type Reconstructor } from './reconstruct-model.js';
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
  /** The weight of total variation, or of the data beside a learned regulariser. */
  lambda: number | null;
}

/** What a method found: an image like the truth. */
interface Found {
  x: Tensor;
  lambda: number | null;
}

/** @throws UsageError for options that contradict each other */
function chosenMethod({ method, model }: CommonOptions): string {
  if (model !== undefined && method !== undefined && method !== 'tdv')
    throw new UsageError(`Expected --method tdv with --model but received ${method}`);
  if (model === undefined && method === 'tdv') throw new UsageError('Expected --model FILE with --method tdv but received none');
  return method ?? (model === undefined ? 'tv' : 'tdv');
}

async function reconstruct(make: () => Promise<Problem>, options: CommonOptions): Promise<void> {
  const { out: folder, model } = options;
  const output = new Output(options);
  const method = chosenMethod(options);
  const reconstructor = model === undefined ? null : await loadForProblem(model, options);
  try {
    await mkdir(folder, { recursive: true }).catch((error: unknown) => {
      throw FileError.fromSystem(folder, 'write', error);
    });
    const problem = await make();
    try {
      output.note(`${problem.title}: ${problem.source}; ${problem.description}`);
      reconstructor?.check(problem);
      const results = tidy(() => solve(problem, reconstructor, method, options, output));
      await conclude(problem, results, options, output);
    } finally {
      for (const value of [problem.truth, problem.measured, problem.operator]) value.dispose();
    }
  } finally {
    reconstructor?.dispose();
  }
}

/** The direct method, total variation, and the network, as far as they are asked for: each starts from the one before. */
function solve(problem: Problem, model: Reconstructor | null, method: string, options: CommonOptions, output: Output): Result[] {
  const { direct, truth } = problem;
  const clean = toImage(truth);
  const results: Result[] = [];
  const run = (name: string, body: () => Found): Tensor => {
    const started = performance.now();
    const { x, lambda } = body();
    const seconds = (performance.now() - started) / 1000;
    const image = toImage(x);
    const windowFits = Math.min(clean.height, clean.width) >= 11;
    results.push({ name, image, psnr: psnr(image, clean), ssim: windowFits ? ssim(image, clean) : null, seconds, lambda });
    return x;
  };
  let x = run(direct.name, () => ({ x: tidy(() => direct.run()), lambda: null }));
  if (method === direct.name) return results;
  if (options.lambda === 'auto') output.note('Searching the lambda of highest PSNR');
  x = run('tv', () => totalVariation(problem, options.lambda));
  if (model !== null) {
    if (model.searches) output.note('Searching the data weight of highest PSNR for the network');
    run('tdv', () => model.run(problem, x));
  }
  return results;
}

async function conclude(problem: Problem, results: readonly Result[], options: CommonOptions, output: Output): Promise<void> {
  const { out: folder } = options;
  const clean = toImage(problem.truth);
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
}

function totalVariation({ operator, measured, truth }: Problem, lambda: number | 'auto'): Found {
  if (lambda !== 'auto') return { x: tvReconstruct(operator, measured, lambda).x, lambda };
  return bestTvLambda(operator, measured, truth);
}

const TITLES: Record<string, string> = {
  fbp: 'filtered back-projection',
  'zero-filling': 'zero filling',
  bicubic: 'bicubic interpolation',
  tv: 'total variation',
  tdv: 'total deep variation',
};

/** Which weights were chosen with the truth at hand, and what they weigh. */
function remark(results: readonly Result[], { lambda, dataWeight }: CommonOptions): string {
  const [tv, tdv] = ['tv', 'tdv'].map((name) => results.find((r) => r.name === name)?.lambda != null);
  const best: string[] = [];
  if (tv && lambda === 'auto') best.push('total variation');
  if (tdv && dataWeight === 'auto') best.push('the network');
  const tuned = best.length === 0 ? '' : ` λ is the one of highest PSNR on this picture: the best that ${best.join(' and ')} can do.`;
  return tdv ? `${tuned} It weighs the regulariser for total variation and the data for the network.` : tuned;
}

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
            caption: `All pixels, values not clipped.${remark(results, options)}`,
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
            entries: [
              ['image', problem.source],
              ...problem.settings,
              ['noise', options.noise],
              ['seed', options.seed],
              ...(options.model === undefined
                ? []
                : ([
                    ['network', options.model],
                    ['contrast', options.contrast],
                    ['iterations', options.iterations],
                  ] as [string, string | number][])),
            ],
          },
        ],
      },
    ],
    footer: reportFooter(),
  };
}
