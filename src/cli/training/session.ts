/** What every training command does: data, trainer, progress, resuming, interrupting, the network's file and the report. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { z } from 'zod';
import {
  type BatchSource,
  type DeviceSource,
  deviceSource,
  prefetchDeadLeaves,
  prefetchFolder,
  type TrainingBatch,
} from '../../data/index.js';
import type { Module } from '../../nn/index.js';
import { finalMeans, REPORT_FILE, type RunOutcome, readRun, runReport, writeOutcome, writeReport } from '../../report/index.js';
import { outsideScopes, seed as seedGenerator, type Tensor, tensor } from '../../tensor/index.js';
import {
  BEST_FILE,
  disposeCheckpoint,
  type JsonObject,
  readCheckpoint,
  type Trainer,
  type TrainerOptions,
  type TrainingResult,
  writeCheckpoint,
} from '../../train/index.js';
import { exitCode } from '../failure.js';
import { reportFooter } from '../footer.js';
import { interruptible } from '../interrupt.js';
import { formatNumber, Output } from '../output.js';
import { TrainingProgress } from '../progress.js';
import { type NamedImage, readValidation } from './denoising.js';
import { scheduleName, scheduleOf, trainingExtras } from './schedule.js';
import { type Given, prepareFolder, type RunOptions, type Settings, settingsToResume, writeSettings } from './settings.js';

/** The file of the trained network in a run's folder. */
export const MODEL_FILE = 'model.safetensors';

/** What a command gets to make its trainer. */
export interface TrainingContext<S extends Settings, M extends Module> {
  readonly settings: S;
  readonly model: M;
  readonly source: BatchSource;
  /** For the trainer, as it is; `schedule` is a factor on the learning rate. */
  readonly common: Pick<TrainerOptions<TrainingBatch>, 'steps' | 'budgetSeconds' | 'schedule' | 'folder' | 'signal'> & {
    scheduleName?: string;
    training: Pick<TrainerOptions<TrainingBatch>, 'accumulate' | 'clipNorm' | 'average' | 'plateau' | 'evaluation' | 'capture'>;
  };
}

/** What makes one training command different from another. */
export interface TrainingCommand<S extends Settings, M extends Module> {
  /** "train denoise" */
  readonly name: S['command'];
  readonly schema: z.ZodType<S>;
  /** Completes the settings of a new run. */
  settings(given: Given<S>): S | Promise<S>;
  /** A fresh network; the random generator has been seeded. A resumed run's weights come from its checkpoint. */
  model(settings: S, resumed: boolean): M | Promise<M>;
  describe(model: M): { name: string; options: JsonObject };
  /** "DnCNN_TV with 8 layers …, noise 25 of 255" */
  headline(settings: S, model: M): string;
  /** What an evaluation on the validation images computes: a PSNR in dB. */
  evaluator(settings: S, images: readonly NamedImage[]): (model: M) => number;
  trainer(context: TrainingContext<S, M>): Trainer<TrainingBatch, Tensor>;
  /** Scores and pictures of the trained network; writes the pictures' files. */
  outcome(context: {
    settings: S;
    model: M;
    folder: string;
    images: readonly NamedImage[];
    steps: number;
    finalPsnr: number;
  }): Promise<Omit<RunOutcome, 'footer' | 'facts'>>;
}

/** Runs a training command to its end, or until it is interrupted. */
export async function runTrainingCommand<S extends Settings, M extends Module>(
  command: TrainingCommand<S, M>,
  options: Given<S> & RunOptions,
): Promise<void> {
  const { out: folder, resume = false, json: _, workers, capture = false, ...rest } = options;
  const given = rest as unknown as Given<S>;
  const output = new Output(options);
  const settings = resume ? await settingsToResume(folder, command.name, command.schema, given) : await command.settings(given);
  if (!resume) await prepareFolder(folder);
  const images = settings.validation === null ? [] : await readValidation(settings.validation, settings.channels);
  const source = await openSource(settings, workers);
  try {
    seedGenerator(settings.seed);
    const model = await command.model(settings, resume);
    try {
      const { result, trainer } = await interruptible(
        async (signal) => {
          const evaluate = command.evaluator(settings, images);
          const name = scheduleName(settings);
          const trainer = command.trainer({
            settings,
            model,
            source,
            common: {
              steps: settings.steps ?? Number.MAX_SAFE_INTEGER,
              ...(settings.minutes !== null && { budgetSeconds: settings.minutes * 60 }),
              schedule: scheduleOf(settings),
              ...(name !== undefined && { scheduleName: name }),
              folder,
              signal,
              training: {
                ...trainingExtras(settings),
                capture,
                ...(settings.validation !== null && {
                  evaluation: {
                    every: settings.evaluateEvery ?? 500,
                    name: 'validation.psnr',
                    goal: 'max' as const,
                    run: () => evaluate(model),
                    ...(settings.patience !== null && { patience: settings.patience }),
                  },
                }),
              },
            },
          });
          trainer.on('uncaptured', (reason) => output.note(`Steps are not captured: ${reason}`));
          if (resume) await trainer.resume();
          else await writeSettings(folder, settings);
          output.note(
            `${resume ? `Resuming at step ${trainer.step}` : 'Training'}: ${command.headline(settings, model)}, ${source.description}`,
          );
          return { result: await runTrainer(trainer), trainer };
        },
        () => output.note('\nStopping after this step; press Ctrl-C again to stop at once.'),
      );
      if (result.aborted) {
        process.exitCode = exitCode.interrupted;
        output.result(
          { folder, aborted: true, steps: result.steps, checkpoint: result.checkpoint },
          `Stopped at step ${result.steps}; the state is in ${result.checkpoint}. Resume with: tautgrad ${command.name} --out ${folder} --resume`,
        );
        return;
      }
      await finish(command, { folder, settings, images, source, result, trainer, model, output });
      trainer.dispose();
    } finally {
      model.dispose();
    }
  } finally {
    await source.close();
  }
}

/** Runs a trainer with its progress on standard error. */
export async function runTrainer(trainer: Trainer<TrainingBatch, Tensor>): Promise<TrainingResult> {
  const progress = new TrainingProgress();
  trainer.on('step', (record, secondsLeft) => progress.update(record, secondsLeft));
  try {
    return await trainer.run();
  } finally {
    progress.stop();
  }
}

/** Keeps what came out of a run and writes the page that shows it. @returns the page's path */
export async function writeRunReport(folder: string, outcome: Omit<RunOutcome, 'footer'>): Promise<string> {
  await writeOutcome(folder, { ...outcome, footer: reportFooter() });
  const path = join(folder, REPORT_FILE);
  await writeReport(path, runReport(await readRun(folder), reportFooter()));
  return path;
}

async function openSource({ data, channels, patch, seed }: Settings, workers: number | undefined): Promise<DeviceSource> {
  const options = { channels, patchSize: patch, seed, ...(workers !== undefined && { workers }) };
  return deviceSource(await (data === null ? prefetchDeadLeaves(options) : prefetchFolder(data, options)));
}

interface Finished<S extends Settings, M extends Module> {
  folder: string;
  settings: S;
  images: readonly NamedImage[];
  source: BatchSource;
  result: TrainingResult;
  trainer: Trainer<TrainingBatch, Tensor>;
  model: M;
  output: Output;
}

async function finish<S extends Settings, M extends Module>(
  command: TrainingCommand<S, M>,
  { folder, settings, images, source, result, trainer, model, output }: Finished<S, M>,
): Promise<void> {
  const best = await useBestWeights(folder, settings, trainer, model);
  const modelPath = join(folder, MODEL_FILE);
  await writeCheckpoint(modelPath, { model: { ...command.describe(model), state: model.stateDict() }, training: null });
  const means = finalMeans(result.history);
  const outcome = await command.outcome({ settings, model, folder, images, steps: result.steps, finalPsnr: means.psnr });
  const report = await writeRunReport(folder, {
    ...outcome,
    facts: { data: source.description, steps: result.steps, weights: model.parameterCount },
  });
  const scores = outcome.table === null ? {} : { scores: { columns: outcome.table.columns, rows: outcome.table.rows } };
  output.result(
    {
      folder,
      aborted: false,
      stoppedEarly: result.stoppedEarly,
      steps: result.steps,
      ...means,
      ...scores,
      checkpoint: result.checkpoint,
      model: modelPath,
      report,
    },
    `Trained ${result.steps} steps${result.stoppedEarly ? ' (stopped early)' : ''}: ` +
      `loss ${formatNumber(means.loss, 3)}${Number.isFinite(means.psnr) ? `, PSNR ${means.psnr.toFixed(2)} dB` : ''} (means of the last batches).\n` +
      `Network${best}: ${modelPath}\nReport: ${report}`,
  );
}

/** Puts the weights that the run is for into the model: those of the best evaluation, or the averaged ones. @returns a remark for the output */
async function useBestWeights(folder: string, settings: Settings, trainer: Trainer<TrainingBatch, Tensor>, model: Module): Promise<string> {
  const path = join(folder, BEST_FILE);
  if (settings.validation !== null && existsSync(path)) {
    const best = await readCheckpoint(path);
    try {
      model.loadStateDict(best.model.state);
    } finally {
      disposeCheckpoint(best);
    }
    return ' of the best evaluation';
  }
  if (settings.ema === null) return '';
  const copy = (t: Tensor): Tensor => outsideScopes(() => tensor(t.toTypedArray(), { shape: t.shape }));
  const averages = trainer.averaged(() => new Map([...model.stateDict()].map(([name, t]) => [name, copy(t)])));
  model.loadStateDict(averages);
  for (const value of averages.values()) value.dispose();
  return ' with averaged weights';
}
