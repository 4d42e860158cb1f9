/**
 * What the regularisers reach on inverse problems: the direct method, total variation and total deep variation, through `tautgrad reconstruct`.
 *
 *   npm run bench -- reconstruct --model tdv3-25-gray.safetensors --mri FOLDER [--case ct,mri --contrast 1 --iterations 100 --json]
 *   npm run bench -- reconstruct --case sr --model runs/sr/model.safetensors --pictures Set12 [--scale 3 --lambda 0.0001]
 *
 * FOLDER holds the brain `Brain_data1.npy` and the masks `mask_20.npy` and `mask_30.npy`. Both regularisers are tuned alike, by the search of
 * `inverse.bestLambda` with the picture as the truth (`--lambda` fixes that of total variation). PSNR in dB over all pixels of unclipped values; seconds with the search.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values: args } = parseArgs({
  options: {
    model: { type: 'string' },
    mri: { type: 'string' },
    pictures: { type: 'string' },
    case: { type: 'string', default: 'ct,mri' },
    scale: { type: 'string', default: '3' },
    contrast: { type: 'string', default: '1' },
    iterations: { type: 'string', default: '100' },
    lambda: { type: 'string', default: 'auto' },
    json: { type: 'boolean', default: false },
  },
});

interface Method {
  name: string;
  psnr: number;
  lambda: number | null;
  seconds: number;
}

const command = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const given = (value: string | undefined, option: string): string => {
  if (value === undefined) throw new Error(`Expected --${option} but received none`);
  return value;
};

/** The commands to run, each with its name in the table; `ct:phantom:90` and alike choose one. */
function cases(): [string, string[]][] {
  const brain = (): string => join(given(args.mri, 'mri'), 'Brain_data1.npy');
  const mask = (name: string): string[] => ['mri', '--image', brain(), '--mask', join(given(args.mri, 'mri'), `mask_${name}.npy`)];
  const all: [string, () => string[]][] = [
    ['ct:phantom:90', () => ['ct', '--angles', '90']],
    ['ct:phantom:45', () => ['ct', '--angles', '45']],
    ['ct:brain:90', () => ['ct', '--angles', '90', '--image', brain()]],
    ['ct:brain:45', () => ['ct', '--angles', '45', '--image', brain()]],
    ['mri:brain:20', () => mask('20')],
    ['mri:brain:30', () => mask('30')],
    ['mri:brain:lines', () => ['mri', '--image', brain()]],
  ];
  const wanted = args.case.split(',');
  return all.filter(([name]) => wanted.some((w) => `${name}:`.startsWith(`${w}:`))).map(([name, make]) => [name, make()]);
}

function reconstruct(problem: string[]): Method[] {
  const folder = mkdtempSync(join(tmpdir(), 'tautgrad-bench-'));
  try {
    const model = args.model === undefined ? [] : ['--model', args.model, '--contrast', args.contrast, '--iterations', args.iterations];
    const { stdout, status } = spawnSync(
      process.execPath,
      [command, 'reconstruct', ...problem, ...model, '--lambda', args.lambda, '--out', folder, '--json'],
      {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    if (status !== 0) throw new Error(`tautgrad reconstruct ${problem.join(' ')} ended with ${status}`);
    return (JSON.parse(stdout) as { methods: Method[] }).methods;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function print(name: string, methods: Method[]): void {
  if (args.json) console.log(JSON.stringify({ case: name, methods }));
  else {
    const columns = methods.map(
      (m) =>
        `${m.name} ${m.psnr.toFixed(2)} dB${m.lambda === null ? '' : ` (λ ${m.lambda.toPrecision(3)})`} in ${m.seconds.toPrecision(2)} s`,
    );
    console.log(`${name.padEnd(16)} ${columns.join('   ')}`);
  }
}

for (const [name, problem] of cases()) print(name, reconstruct(problem));

if (args.case.split(',').includes('sr')) {
  const folder = given(args.pictures, 'pictures');
  const files = readdirSync(folder).filter((file) => /\.(png|jpe?g|tiff?|webp)$/i.test(file));
  const rows = files.sort().map((file) => {
    const methods = reconstruct(['sr', '--image', join(folder, file), '--scale', args.scale]);
    print(basename(file), methods);
    return methods;
  });
  const mean = (name: string, key: 'psnr' | 'seconds'): number =>
    rows.reduce((sum, methods) => sum + (methods.find((m) => m.name === name)?.[key] ?? Number.NaN), 0) / rows.length;
  print(
    'mean',
    (rows[0] ?? []).map(({ name }) => ({ name, psnr: mean(name, 'psnr'), lambda: null, seconds: mean(name, 'seconds') })),
  );
}
