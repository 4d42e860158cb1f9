import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { deadLeavesSource, FileError, folderSource, type PatchBatch, type PatchSource } from '../../data/index.js';
import { DnCNNTV, denoisingTrainer, describeDenoiser, initialLambdas } from '../../models/tvlayers/index.js';
import { writeReport } from '../../report/index.js';
import { seed as seedGenerator } from '../../tensor/index.js';
import { CHECKPOINT_FILE, type Trainer, type TrainingResult, writeCheckpoint } from '../../train/index.js';
import { exitCode, UsageError } from '../failure.js';
import { interruptible } from '../interrupt.js';
import { formatNumber, Output } from '../output.js';
import { TrainingProgress } from '../progress.js';
import { type RunSettings, readRunSettings, requireSameSettings, writeRunSettings } from '../run-settings.js';
import { finalMeans, reportFooter, trainingCharts } from '../training-report.js';

export interface TrainDenoiseOptions extends Partial<Omit<RunSettings, 'command' | 'data' | 'steps' | 'minutes'>> {
  data?: string;
  steps?: number;
  minutes?: number;
  out: string;
  resume?: boolean;
  json?: boolean;
}

/** `tautgrad train denoise` */
export async function trainDenoise(options: TrainDenoiseOptions): Promise<void> {
  const { out: folder, resume = false, json: _, ...given } = options;
  const output = new Output(options);
  const settings = resume ? await settingsToResume(folder, given) : await newSettings(folder, given);
  const source = await patchSource(settings);
  seedGenerator(settings.seed);
  const { channels, depth, features } = settings;
  const model = new DnCNNTV({ channels, depth, features, ...initialLambdas(settings.sigma / 255) });
  try {
    const result = await interruptible(
      async (signal) => {
        const trainer = denoisingTrainer({
          model,
          description: describeDenoiser(model),
          source,
          sigma: settings.sigma / 255,
          batchSize: settings.batch,
          learningRate: settings.learningRate,
          seed: settings.seed,
          steps: settings.steps ?? Number.MAX_SAFE_INTEGER,
          ...(settings.minutes !== null && { budgetSeconds: settings.minutes * 60 }),
          folder,
          signal,
        });
        if (resume) await trainer.resume();
        else await writeRunSettings(folder, settings);
        output.note(
          `${resume ? `Resuming at step ${trainer.step}` : 'Training'}: DnCNN_TV with ${depth} layers of ${features} channels (${model.parameterCount} weights), ` +
            `noise ${settings.sigma} of 255, ${source.description}`,
        );
        return runTrainer(trainer);
      },
      () => output.note('\nStopping after this step; press Ctrl-C again to stop at once.'),
    );
    if (result.aborted) {
      process.exitCode = exitCode.interrupted;
      output.result(
        { folder, aborted: true, steps: result.steps, checkpoint: result.checkpoint },
        `Stopped at step ${result.steps}; the state is in ${result.checkpoint}. Resume with: tautgrad train denoise --out ${folder} --resume`,
      );
      return;
    }
    await finish(folder, model, settings, source, result, output);
  } finally {
    model.dispose();
  }
}

/** Runs a trainer with its progress on standard error. */
export async function runTrainer(trainer: Trainer<PatchBatch>): Promise<TrainingResult> {
  const progress = new TrainingProgress();
  trainer.on('step', (record, secondsLeft) => progress.update(record, secondsLeft));
  try {
    return await trainer.run();
  } finally {
    progress.stop();
  }
}

async function finish(
  folder: string,
  model: DnCNNTV,
  settings: RunSettings,
  source: PatchSource,
  result: TrainingResult,
  output: Output,
): Promise<void> {
  const modelPath = join(folder, 'model.safetensors');
  await writeCheckpoint(modelPath, { model: { ...describeDenoiser(model), state: model.stateDict() }, training: null });
  const means = finalMeans(result.history);
  const report = join(folder, 'report.html');
  await writeReport(report, {
    title: 'Training of a denoiser with total-variation layers',
    summary: `DnCNN_TV after ${result.steps} steps: mean PSNR of the last batches ${means.psnr.toFixed(2)} dB.`,
    sections: [
      { heading: 'Curves', blocks: trainingCharts(result.history) },
      {
        heading: 'Settings',
        blocks: [
          {
            kind: 'settings',
            entries: [
              ['data', source.description],
              ...Object.entries(settings)
                .filter(([name, value]) => name !== 'data' && value !== null)
                .map(([name, value]) => [name, value ?? ''] as const),
              ['weights', model.parameterCount],
            ],
          },
        ],
      },
    ],
    footer: reportFooter(),
  });
  output.result(
    { folder, aborted: false, steps: result.steps, ...means, checkpoint: result.checkpoint, model: modelPath, report },
    `Trained ${result.steps} steps: loss ${formatNumber(means.loss, 3)}, PSNR ${means.psnr.toFixed(2)} dB (means of the last batches).\n` +
      `Network: ${modelPath}\nReport: ${report}`,
  );
}

type Given = Omit<TrainDenoiseOptions, 'out' | 'resume' | 'json'>;

async function settingsToResume(folder: string, given: Given): Promise<RunSettings> {
  const settings = await readRunSettings(folder);
  requireSameSettings(settings, { ...given, ...(given.data !== undefined && { data: resolve(given.data) }) });
  const checkpoint = join(folder, CHECKPOINT_FILE);
  if (!existsSync(checkpoint)) throw new FileError(checkpoint, `Cannot resume: the run in ${folder} has no checkpoint yet`);
  return settings;
}

async function newSettings(folder: string, given: Given): Promise<RunSettings> {
  if (existsSync(join(folder, CHECKPOINT_FILE))) {
    throw new UsageError(`The folder ${folder} already holds a run: add --resume to continue it, or choose another folder with --out`);
  }
  if (given.steps !== undefined && given.minutes !== undefined) {
    throw new UsageError('Expected --steps or --minutes but received both');
  }
  await mkdir(folder, { recursive: true }).catch((error: unknown) => {
    throw FileError.fromSystem(folder, 'write', error);
  });
  return {
    command: 'train denoise',
    data: given.data === undefined ? null : resolve(given.data),
    sigma: given.sigma ?? 25,
    steps: given.minutes === undefined ? (given.steps ?? 2000) : null,
    minutes: given.minutes ?? null,
    channels: given.channels ?? 1,
    depth: given.depth ?? 8,
    features: given.features ?? 32,
    batch: given.batch ?? 16,
    patch: given.patch ?? 40,
    learningRate: given.learningRate ?? 1e-3,
    seed: given.seed ?? 0,
  };
}

async function patchSource({ data, channels, patch, seed }: RunSettings): Promise<PatchSource> {
  const options = { channels, patchSize: patch, seed };
  return data === null ? deadLeavesSource(options) : folderSource(data, options);
}
