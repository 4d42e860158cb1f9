import { Command, Option } from 'commander';
import {
  fraction,
  increasingNumbers,
  lambdaOrAuto,
  nonNegativeNumber,
  oneOrThree,
  positiveInteger,
  positiveNumber,
  positiveOrAuto,
  scaleFactor,
  seedNumber,
} from './options.js';
import { withTrainingOptions } from './training/options.js';
import { version } from './version.js';

/**
 * The command line. Each action loads its code when it runs, so that help and wrong options answer at once, even where
 * the native addon cannot be loaded.
 */
export function createProgram(): Command {
  const program = new Command('tautgrad')
    .description('Differentiable total-variation layers and variational imaging networks.')
    .version(version, '-V, --version', 'print the version')
    .helpCommand(false)
    .exitOverride()
    .showSuggestionAfterError()
    .configureHelp({ showGlobalOptions: false })
    .configureOutput({ outputError: (text, write) => write(asSentence(text)) })
    .addHelpText('after', '\nRun "tautgrad COMMAND --help" for the options and an example of a command.');

  command(program, 'info', 'print the version, the instruction set, the threads and the GPU', 'tautgrad info').action(async (options) =>
    (await import('./commands/info.js')).info(options),
  );

  command(
    program,
    'denoise',
    'remove noise from an image with total variation, or with a trained network',
    'tautgrad denoise photo.jpg clean.png',
    'tautgrad denoise photo.png clean.png --lambda 0.08 --isotropic',
    'tautgrad denoise photo.png clean.png --model runs/quickstart/model.safetensors',
    'tautgrad denoise photo.png clean.png --model tdv3-25-gray.safetensors --sigma 15',
  )
    .argument('<in>', 'image to read (PNG, JPEG, WebP, TIFF; 8 or 16 bits)')
    .argument('<out>', 'image to write; gray, 16 bits and alpha are kept where the format can')
    .addOption(
      new Option('--lambda <number>', 'strength for values 0 … 1; auto: from the noise level of the image')
        .argParser(lambdaOrAuto)
        .default('auto'),
    )
    .option('--isotropic', 'isotropic (ROF) instead of anisotropic total variation')
    .addOption(
      new Option('--model <file>', 'a network from "tautgrad train", or published weights of total deep variation').conflicts([
        'lambda',
        'isotropic',
      ]),
    )
    .addOption(
      new Option(
        '--sigma <number>',
        'with a network of total deep variation: standard deviation of the noise, of 255; auto (default): estimated',
      ).argParser(positiveOrAuto),
    )
    .action(async (input: string, output: string, options) => (await import('./commands/denoise.js')).denoise(input, output, options));

  const train = group(program, 'train', 'train a network');
  withTrainingOptions(
    command(
      train,
      'denoise',
      'train a residual denoiser with total-variation layers (DnCNN_TV)',
      'tautgrad train denoise --data photos --sigma 25 --steps 2000 --out runs/photos',
      'tautgrad train denoise --data photos --validation held-out --patience 5 --schedule plateau --ema 0.999',
      'tautgrad train denoise --out runs/photos --resume',
    ),
    { out: 'runs/denoise', batch: 16, patch: 40, learningRate: 1e-3 },
  )
    .option('--sigma <number>', 'standard deviation of the noise, of 255 (default: 25)', positiveNumber)
    .option('--depth <number>', 'convolution layers (default: 8)', positiveInteger)
    .option('--features <number>', 'channels inside the network (default: 32)', positiveInteger)
    .action(async (options) => (await import('./commands/train-denoise.js')).trainDenoise(options));

  withTrainingOptions(
    command(
      train,
      'tdv',
      'train total deep variation to denoise or to enlarge: regulariser, stopping time and data weight',
      'tautgrad train tdv --data photos --sigma 25 --macro-blocks 1 --features 16 --minutes 30',
      'tautgrad train tdv --data BSDS400 --batch 32 --patch 93 --learning-rate 4e-4 --steps 100000',
      'tautgrad train tdv --task sr --scale 3 --from tdv3-25-gray.safetensors --data photos --minutes 10',
      'tautgrad train tdv --out runs/tdv --resume',
    ),
    { out: 'runs/tdv', batch: 8, patch: 64, learningRate: 4e-4 },
  )
    .addOption(new Option('--task <name>', 'denoise, or sr: super-resolution (default: denoise)').choices(['denoise', 'sr']))
    .option('--scale <number>', 'with --task sr: factor of both axes, 2, 3 or 4 (default: 3)', scaleFactor)
    .option('--from <file>', 'start from the weights of this network, from "tautgrad train tdv" or published')
    .option('--sigma <number>', 'standard deviation of the noise, of 255 (default: 25)', positiveNumber)
    .option('--features <number>', 'channels inside the regulariser (default: 32)', positiveInteger)
    .option('--macro-blocks <number>', 'U-Nets in a row (default: 3)', positiveInteger)
    .option('--stages <number>', 'steps S of the unrolled scheme (default: 10)', positiveInteger)
    .option('--nu <number>', 'of the activation log(1 + nu x²) / (2 nu) (default: 1; the paper: 9)', positiveNumber)
    .addOption(
      new Option('--scheme <name>', 'released: a data weight of its own; paper: one time for both (default: released)').choices([
        'released',
        'paper',
      ]),
    )
    .action(async (options) => (await import('./commands/train-tdv.js')).trainTdv(options));

  withTrainingOptions(
    command(
      train,
      'tvflow',
      'train TVflowNET, which predicts the total-variation flow of an image at any time, without solved flows',
      'tautgrad train tvflow --data photos --validation held-out --minutes 30',
      'tautgrad train tvflow --data STL10 --batch 8 --learning-rate 5e-4 --schedule constant --tv-weight 1e-4 --initial-weight 1 --input plain --steps 34375',
      'tautgrad train tvflow --out runs/tvflow --resume',
    ),
    { out: 'runs/tvflow', batch: 2, patch: 96, learningRate: 3e-3, clip: 1 },
  )
    .addOption(
      new Option('--activations <names>', 'of the seven inner layers (default: relu+softplus, ReLU after the first)').choices([
        'relu+softplus',
        'relu',
        'softplus',
      ]),
    )
    .addOption(new Option('--boundary <name>', 'where the dual field vanishes (default: natural)').choices(['natural', 'frame']))
    .addOption(new Option('--padding <name>', 'around the images (default: zero)').choices(['zero', 'reflect']))
    .addOption(new Option('--init <name>', 'initial weights (default: he-uniform)').choices(['he-uniform', 'orthogonal']))
    .addOption(
      new Option('--input <name>', 'what the network sees: the image minus its mean, or as it is (default: centered)').choices([
        'centered',
        'plain',
      ]),
    )
    .option('--normalize-phi', 'divide the dual field by its length where that exceeds 1')
    .option(
      '--times-per-image <number>',
      'times per image of a batch, the first of them 0 where there are more than one (default: 1)',
      positiveInteger,
    )
    .option('--tv-weight <number>', 'weight of the subgradient term, for 96×96 pixels (default: 1e-6; the paper: 1e-4)', nonNegativeNumber)
    .option('--initial-weight <number>', 'weight of the initial condition (default: 10; the paper: 1)', nonNegativeNumber)
    .action(async (options) => (await import('./commands/train-tvflow.js')).trainTvflow(options));

  const evaluate = group(program, 'eval', 'measure a network');
  command(
    evaluate,
    'denoise',
    'mean PSNR and SSIM of a denoiser on a folder of clean images',
    'tautgrad eval denoise --model runs/denoise/model.safetensors --data Set12 --sigma 25',
    'tautgrad eval denoise --lambda 0.08 --data Set12 --sigma 25',
  )
    .requiredOption('--data <folder>', 'folder of clean images')
    .option('--sigma <number>', 'standard deviation of the noise that is added, of 255', positiveNumber, 25)
    .option('--model <file>', 'a network from "tautgrad train", or published weights of total deep variation')
    .addOption(
      new Option('--lambda <number>', 'total variation with this strength, or auto, instead of a network')
        .argParser(lambdaOrAuto)
        .conflicts('model'),
    )
    .addOption(new Option('--isotropic', 'isotropic instead of anisotropic total variation').conflicts('model'))
    .option('--seed <number>', 'seed of the noise', seedNumber, 0)
    .action(async (options) => (await import('./commands/eval-denoise.js')).evalDenoise(options));

  command(
    evaluate,
    'tvflow',
    'how close a TVflowNET comes to the total-variation flow of the images of a folder',
    'tautgrad eval tvflow --model runs/tvflow/model.safetensors --data Set12',
    'tautgrad eval tvflow --model runs/tvflow/model.safetensors --data Set12 --against joint',
  )
    .requiredOption('--model <file>', 'a network from "tautgrad train tvflow"')
    .requiredOption('--data <folder>', 'folder of images')
    .option('--size <number>', 'side of the middle part that is evaluated', positiveInteger, 96)
    .option('--points <number>', 'times', positiveInteger, 50)
    .option('--step <number>', 'between two times, for values 0 … 5', positiveNumber, 0.02)
    .addOption(
      new Option('--against <name>', 'flow: model-driven (implicit Euler); joint: joint space-time optimisation')
        .choices(['flow', 'joint'])
        .default('flow'),
    )
    .option('--channels <number>', '1: gray, 3: colour, channel by channel', oneOrThree, 1)
    .action(async (options) => (await import('./commands/eval-tvflow.js')).evalTvflow(options));

  addReconstruct(program);
  addFlow(program);

  command(
    program,
    'report',
    'make the page of a training run again from its folder, or compare two runs side by side',
    'tautgrad report runs/denoise',
    'tautgrad report runs/first runs/second --out comparison.html',
  )
    .argument('<run>', 'folder of a run')
    .argument('[other]', 'folder of a second run')
    .option('--out <file>', 'page to write (default: report.html in the folder; of two runs: comparison.html)')
    .action(async (run: string, other: string | undefined, options) => (await import('./commands/report.js')).report(run, other, options));

  const exploring = group(program, 'explore', 'what a network of total deep variation has learned, as a page');
  for (const [name, description, more] of [
    ['time', 'PSNR and the first-order condition over the stopping time', ''],
    ['surface', 'the deep variation of a pixel over contrast and noise', ''],
    ['eigen', 'a nonlinear eigenfunction of the regulariser', ''],
    ['sensitivity', 'how far the trajectories of two networks part, and the bound on it', ' --other other.safetensors'],
  ] as const) {
    const exploration = command(
      exploring,
      name,
      description,
      `tautgrad explore ${name} --model tdv3-25-gray.safetensors --image photo.png${more}`,
    )
      .requiredOption('--model <file>', 'a network from "tautgrad train tdv", or published weights')
      .requiredOption('--image <file>', 'picture to look at, without noise')
      .option('--out <file>', 'page to write', `${name}.html`)
      .option('--size <number>', 'side of the middle part that is looked at', positiveInteger, 128)
      .option('--seed <number>', 'seed of the noise', seedNumber, 0);
    if (name === 'sensitivity') exploration.requiredOption('--other <file>', 'the second network');
    exploration.action(async (options) => (await import('./commands/explore.js')).explore(name, options));
  }

  command(
    program,
    'quickstart',
    'train a small denoiser, compare it with total variation alone, and write a report',
    'tautgrad quickstart',
    'tautgrad quickstart --data photos --image photo.jpg',
  )
    .option('--data <folder>', 'folder of clean images (default: the built-in dead-leaves generator)')
    .option('--image <file>', 'picture for the comparison; noise is added to it')
    .option('--sigma <number>', 'standard deviation of the noise, of 255', positiveNumber, 25)
    .option('--seconds <number>', 'training time', positiveNumber, 60)
    .option('--out <folder>', 'folder of the run', 'runs/quickstart')
    .option('--seed <number>', 'seed of weights, data and noise', seedNumber, 0)
    .action(async (options) => (await import('./commands/quickstart.js')).quickstart(options));

  return program;
}

/** `tautgrad flow` */
function addFlow(program: Command): void {
  command(
    program,
    'flow',
    'the total-variation flow of an image at given times, its spectrum and filters, as pictures and a page',
    'tautgrad flow photo.jpg --times 0.02,0.1,0.5 --out runs/flow',
    'tautgrad flow photo.jpg --times 0.1,1 --spectral --colour vectorial',
    'tautgrad flow photo.jpg --times 0.5 --filter band 0.02 0.1',
  )
    .argument('<in>', 'image to read (PNG, JPEG, WebP, TIFF; 8 or 16 bits)')
    .addOption(
      new Option('--times <list>', 'times to show, for values 0 … 1: a disc of radius r and contrast c lasts until c r / 2')
        .argParser(increasingNumbers)
        .default([0.02, 0.05, 0.1, 0.2, 0.5], '0.02,0.05,0.1,0.2,0.5'),
    )
    .option('--out <folder>', 'folder of the pictures and of report.html', 'runs/flow')
    .addOption(
      new Option('--colour <name>', 'of colour images: by-channel, or vectorial (the channels share their edges)')
        .choices(['by-channel', 'vectorial'])
        .default('by-channel'),
    )
    .addOption(new Option('--anisotropic', '|dx| + |dy| instead of isotropic total variation').conflicts('colour'))
    .addOption(
      new Option(
        '--accuracy <number>',
        'certified root mean square error, as a share of the range of the values (default: 1e-3)',
      ).argParser(fraction),
    )
    .addOption(new Option('--step <number>', 'longest time step, instead of an accuracy').argParser(positiveNumber).conflicts('accuracy'))
    .option('--spectral', 'also the spectrum, and the image as a sum of bands')
    .option('--filter <words...>', 'also a filtered picture: "low T", "high T" or "band A B", with times of the spectrum')
    .option('--bands <number>', 'bands of the spectrum', positiveInteger, 50)
    .option('--end-time <number>', 'end of the spectrum (default: the last of --times)', positiveNumber)
    .action(async (input: string, options) => (await import('./commands/flow.js')).flowCommand(input, options));
}

/** `tautgrad reconstruct ct|mri|sr`: each simulates a scanner on a clean image, reconstructs, and writes a report. */
function addReconstruct(program: Command): void {
  const parent = group(program, 'reconstruct', 'simulate a scanner on a clean image, reconstruct, and write a report');
  const problem = (name: string, description: string, methods: string[], noise: number, ...examples: string[]): Command =>
    command(parent, name, description, ...examples)
      .option('--image <file>', 'clean image, a picture or a .npy file (default: the Shepp-Logan phantom)')
      .option('--size <number>', 'side of the phantom in pixels', positiveInteger, 256)
      .addOption(new Option('--method <name>', 'how to reconstruct (default: tv; with --model: tdv)').choices([...methods, 'tdv']))
      .addOption(
        new Option('--lambda <number>', 'strength of total variation; auto: the one of highest PSNR')
          .argParser(lambdaOrAuto)
          .default('auto'),
      )
      .option('--model <file>', 'a network of total deep variation, from "tautgrad train tdv" or published weights, as the regulariser')
      .addOption(
        new Option('--data-weight <number>', 'with --model: weight of the data; auto: the one of highest PSNR')
          .argParser(positiveOrAuto)
          .default('auto'),
      )
      .option('--contrast <number>', 'with --model: scale of the intensities that the network sees', positiveNumber, 1)
      .option('--iterations <number>', 'with --model: steps of the descent', positiveInteger, 100)
      .option('--noise <number>', 'standard deviation of the noise of the measurements', nonNegativeNumber, noise)
      .option('--out <folder>', 'folder of the results', `runs/${name}`)
      .option('--seed <number>', 'seed of the noise and of random masks', seedNumber, 0);

  problem(
    'ct',
    'computed tomography with parallel beams',
    ['fbp', 'tv'],
    0.5,
    'tautgrad reconstruct ct --angles 45',
    'tautgrad reconstruct ct --image slice.png --method fbp --filter ram-lak',
    'tautgrad reconstruct ct --angles 45 --model tdv3-25-gray.safetensors',
  )
    .option('--angles <number>', 'views, equally spaced in half a turn', positiveInteger, 90)
    .addOption(new Option('--filter <name>', 'filter of the back-projection').choices(['hann', 'ram-lak']).default('hann'))
    .action(async (options) => (await import('./commands/reconstruct.js')).reconstructCt(options));

  problem(
    'mri',
    'Cartesian magnetic resonance imaging with several coils',
    ['zero-filling', 'tv'],
    0.01,
    'tautgrad reconstruct mri --acceleration 4 --coils 4',
    'tautgrad reconstruct mri --image brain.npy --mask mask.npy',
    'tautgrad reconstruct mri --image brain.npy --mask mask.npy --model tdv3-25-gray.safetensors',
  )
    .option('--coils <number>', 'simulated receiver coils', positiveInteger, 4)
    .option('--acceleration <number>', 'how many times fewer samples than a full scan', positiveNumber, 4)
    .addOption(new Option('--pattern <name>', 'of the sampling mask').choices(['lines', 'radial']).default('lines'))
    .option('--mask <file>', 'sampling mask, a picture or a .npy file, white where k-space is sampled, its centre in the middle')
    .action(async (options) => (await import('./commands/reconstruct.js')).reconstructMri(options));

  problem(
    'sr',
    'super-resolution of a picture that is first made smaller',
    ['bicubic', 'tv'],
    0,
    'tautgrad reconstruct sr --image photo.png --scale 3',
    'tautgrad reconstruct sr --image photo.png --scale 3 --model runs/sr/model.safetensors',
  )
    .option('--scale <number>', 'factor of both axes', positiveInteger, 3)
    .action(async (options) => (await import('./commands/reconstruct.js')).reconstructSr(options));
}

/** A command with `--json` and examples in its help. */
function command(parent: Command, name: string, description: string, ...examples: string[]): Command {
  const plural = examples.length === 1 ? 'Example' : 'Examples';
  return parent
    .command(name)
    .description(description)
    .option('--json', 'print one JSON object on standard output, everything else on standard error')
    .allowExcessArguments(false)
    .addHelpText('after', `\n${plural}:\n${examples.map((example) => `  $ ${example}`).join('\n')}`);
}

/** A command that only holds others. */
function group(parent: Command, name: string, description: string): Command {
  return parent.command(name).description(description).helpCommand(false);
}

/** "error: unknown option '--x'\n(Did you mean …?)" → one line in the form of all other failures. */
function asSentence(text: string): string {
  return `tautgrad: ${text
    .replace(/^error: /, '')
    .trim()
    .replace(/\s*\n\s*/g, ' ')}\n`;
}
