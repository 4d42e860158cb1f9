/** The options that every training command has. Imports nothing heavy: help must answer at once. */
import { type Command, Option } from 'commander';
import { fraction, oneOrThree, positiveInteger, positiveNumber, seedNumber, wholeNumber } from '../options.js';

/** `constant`, or half a cosine, or decay by a factor every so many steps, or when nothing improves for so many steps. */
export const scheduleNames = ['cosine', 'step', 'plateau', 'constant'] as const;

/** Adds them to a command; the defaults that differ between the commands appear in its help. */
export function withTrainingOptions(
  command: Command,
  defaults: { out: string; batch: number; patch: number; learningRate: number; clip?: number },
): Command {
  return (
    command
      .option('--data <folder>', 'folder of clean images (default: the built-in dead-leaves generator)')
      .option('--workers <number>', 'threads that prepare the data; the result does not depend on them (default: 2)', positiveInteger)
      .option('--validation <folder>', 'folder of clean images to evaluate on; the best network is kept')
      .option('--evaluate-every <steps>', 'steps between evaluations (default: 500)', positiveInteger)
      .option('--patience <number>', 'stop after this many evaluations without a new best', positiveInteger)
      .option('--steps <number>', 'training steps (default: 2000)', positiveInteger)
      .option('--minutes <number>', 'train for this long instead of a number of steps', positiveNumber)
      .option('--out <folder>', 'folder of the run', defaults.out)
      .option('--resume', 'continue the run in the folder with its settings')
      .option('--channels <number>', '1: gray, 3: colour (default: 1)', oneOrThree)
      .option('--batch <number>', `patches in a batch (default: ${defaults.batch})`, positiveInteger)
      .option('--accumulate <number>', 'batches in a step; their gradients are averaged (default: 1)', positiveInteger)
      .option('--patch <number>', `side of the patches in pixels (default: ${defaults.patch})`, positiveInteger)
      .option('--learning-rate <number>', `peak of the learning rate (default: ${defaults.learningRate})`, positiveNumber)
      // The default stays out of the values: a resumed run has its own.
      .addOption(new Option('--schedule <name>', 'learning rate over the run (default: cosine)').choices(scheduleNames))
      .option('--warm-up <steps>', 'steps over which the learning rate rises first (default: 100)', wholeNumber)
      .option('--decay <factor>', 'factor on the learning rate, for the schedules step and plateau (default: 0.5)', fraction)
      .option(
        '--decay-every <steps>',
        'step: steps between decays; plateau: steps without improvement before a decay (default: 500)',
        positiveInteger,
      )
      .option(
        '--clip <norm>',
        `largest norm of the gradient; longer ones are shortened (default: ${defaults.clip ?? 'unlimited'})`,
        positiveNumber,
      )
      .option('--ema <decay>', 'use an exponential moving average of the weights, e.g. 0.999 (default: none)', fraction)
      .option('--capture', 'on the GPU (TAUTGRAD_DEVICE=cuda): record a step once and replay it; the result is the same')
      .option('--seed <number>', 'seed of weights, data and noise (default: 0)', seedNumber)
  );
}
