/** The settings of training runs: what all commands share, and how a run's folder keeps them. */
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { FileError, writeFileAtomic } from '../../data/index.js';
import { OUTCOME_FILE, SETTINGS_FILE } from '../../report/index.js';
import { CHECKPOINT_FILE } from '../../train/index.js';
import { UsageError } from '../failure.js';
import { scheduleNames } from './options.js';

/** What every training command keeps as `run.json`, beside settings of its own. Null: does not apply. */
export const commonSettings = z.object({
  /** Folder of clean images; null: dead leaves. */
  data: z.string().nullable(),
  /** Folder of images to evaluate on. */
  validation: z.string().nullable().default(null),
  /** Null: the time decides. */
  steps: z.int().positive().nullable(),
  /** Null: the number of steps decides. */
  minutes: z.number().positive().nullable(),
  channels: z.union([z.literal(1), z.literal(3)]),
  batch: z.int().positive(),
  patch: z.int().positive(),
  learningRate: z.number().positive(),
  schedule: z.enum(scheduleNames).default('cosine'),
  warmUp: z.int().nonnegative().default(100),
  decay: z.number().positive().max(1).nullable().default(null),
  decayEvery: z.int().positive().nullable().default(null),
  clip: z.number().positive().nullable().default(null),
  accumulate: z.int().positive().default(1),
  ema: z.number().nonnegative().lt(1).nullable().default(null),
  evaluateEvery: z.int().positive().nullable().default(null),
  patience: z.int().positive().nullable().default(null),
  seed: z.int().nonnegative(),
});

export type CommonSettings = z.infer<typeof commonSettings>;
/** Every settings object: scalars by name. */
export type Settings = CommonSettings & { command: string };

/** Options of the command line that no run keeps. */
export interface RunOptions {
  out: string;
  resume?: boolean;
  json?: boolean;
  /** Worker threads for the data: the run's result does not depend on them. */
  workers?: number;
  /** Steps recorded on the GPU and replayed: the result does not depend on it. */
  capture?: boolean;
}

/** What the command line gives; `undefined` where it is silent. */
export type Given<S> = { [K in keyof S]?: Exclude<S[K], null> };

/** The common settings of a new run. @throws UsageError for options that contradict each other */
export function newCommonSettings(
  given: Given<CommonSettings>,
  defaults: { patch: number; batch: number; learningRate: number },
): CommonSettings {
  if (given.steps !== undefined && given.minutes !== undefined) throw new UsageError('Expected --steps or --minutes but received both');
  const schedule = given.schedule ?? 'cosine';
  const decays = schedule === 'step' || schedule === 'plateau';
  for (const [option, value] of [
    ['--decay', given.decay],
    ['--decay-every', given.decayEvery],
  ] as const) {
    if (value !== undefined && !decays) throw new UsageError(`Expected --schedule step or plateau with ${option} but received ${schedule}`);
  }
  const { validation } = given;
  for (const [option, value] of [
    ['--evaluate-every', given.evaluateEvery],
    ['--patience', given.patience],
  ] as const) {
    if (value !== undefined && validation === undefined)
      throw new UsageError(`Expected --validation FOLDER with ${option} but received none`);
  }
  return {
    data: given.data === undefined ? null : resolve(given.data),
    validation: validation === undefined ? null : resolve(validation),
    steps: given.minutes === undefined ? (given.steps ?? 2000) : null,
    minutes: given.minutes ?? null,
    channels: given.channels ?? 1,
    batch: given.batch ?? defaults.batch,
    patch: given.patch ?? defaults.patch,
    learningRate: given.learningRate ?? defaults.learningRate,
    schedule,
    warmUp: given.warmUp ?? 100,
    decay: decays ? (given.decay ?? 0.5) : null,
    decayEvery: decays ? (given.decayEvery ?? 500) : null,
    clip: given.clip ?? null,
    accumulate: given.accumulate ?? 1,
    ema: given.ema ?? null,
    evaluateEvery: validation === undefined ? null : (given.evaluateEvery ?? 500),
    patience: given.patience ?? null,
    seed: given.seed ?? 0,
  };
}

/** Makes the folder of a new run. @throws UsageError when it holds one already; FileError when it cannot be made */
export async function prepareFolder(folder: string): Promise<void> {
  if (existsSync(join(folder, CHECKPOINT_FILE))) {
    throw new UsageError(`The folder ${folder} already holds a run: add --resume to continue it, or choose another folder with --out`);
  }
  await mkdir(folder, { recursive: true }).catch((error: unknown) => {
    throw FileError.fromSystem(folder, 'write', error);
  });
}

/** Keeps the settings of a run that starts; what an earlier one came to goes. */
export async function writeSettings(folder: string, settings: object): Promise<void> {
  await rm(join(folder, OUTCOME_FILE), { force: true });
  await writeFileAtomic(join(folder, SETTINGS_FILE), `${JSON.stringify(settings, null, 2)}\n`);
}

/**
 * The settings of the run in a folder, to go on with it.
 * @param command the command that must have made it
 * @throws FileError when the folder holds no run, one of another command, or one without a checkpoint, or when its settings are damaged;
 *   UsageError when an option on the command line contradicts them
 */
export async function settingsToResume<S extends Settings>(
  folder: string,
  command: string,
  schema: z.ZodType<S>,
  given: Given<S>,
): Promise<S> {
  const path = join(folder, SETTINGS_FILE);
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT')
      throw new FileError(path, `Cannot resume: the folder ${folder} holds no run (there is no ${SETTINGS_FILE})`);
    throw FileError.fromSystem(path, 'read', error);
  });
  let settings: S;
  try {
    const json = JSON.parse(text) as { command?: unknown } | null;
    if (typeof json?.command === 'string' && json.command !== command) {
      throw new FileError(path, `Cannot resume: the run in ${folder} was made by "tautgrad ${json.command}"`);
    }
    settings = schema.parse(json);
  } catch (error) {
    if (error instanceof FileError) throw error;
    const where = error instanceof z.ZodError ? ` (${error.issues[0]?.path.join('.')}: ${error.issues[0]?.message})` : '';
    throw new FileError(path, `Cannot resume: the settings in ${path} are damaged${where}`, { cause: error });
  }
  requireSame(settings, given);
  const checkpoint = join(folder, CHECKPOINT_FILE);
  if (!existsSync(checkpoint)) throw new FileError(checkpoint, `Cannot resume: the run in ${folder} has no checkpoint yet`);
  return settings;
}

/** Throws unless every option given on the command line says what the run already does. */
function requireSame<S extends Settings>(settings: S, given: Given<S>): void {
  for (const [name, value] of Object.entries(given)) {
    const kept = settings[name as keyof S];
    const wanted = name === 'data' || name === 'validation' || name === 'from' ? resolve(String(value)) : value;
    if (value !== undefined && wanted !== kept) {
      const option = name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
      throw new UsageError(
        `Expected --${option} ${String(kept ?? 'not to be given')}, as in the run to resume, but received ${String(wanted)}`,
      );
    }
  }
}
