/** What a training run leaves in its folder, as a report needs it. */
import { readFile, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { z } from 'zod';
import { FileError, type Image, readImage, writeFileAtomic } from '../data/index.js';
import { CHECKPOINT_FILE, disposeCheckpoint, LOG_FILE, readCheckpoint, readRunLog, type StepRecord } from '../train/index.js';

/** What was asked of the run: written when it starts. */
export const SETTINGS_FILE = 'run.json';
/** What came out of it: written when it ends. */
export const OUTCOME_FILE = 'result.json';
export const REPORT_FILE = 'report.html';

const scalar = z.union([z.string(), z.number(), z.boolean(), z.null()]);
const settingsSchema = z.record(z.string(), scalar);
const outcomeSchema = z.object({
  title: z.string(),
  summary: z.string(),
  /** Facts that the settings do not hold: number of weights, what the data were. They replace settings of the same name. */
  facts: z.record(z.string(), scalar).default({}),
  /** Scores on held-out data. */
  table: z
    .object({
      caption: z.string(),
      columns: z.array(z.string()),
      rows: z.array(z.array(z.union([z.string(), z.number(), z.null()]))),
      digits: z.array(z.int().nonnegative().max(10)).optional(),
    })
    .nullable()
    .default(null),
  /** Image files in the folder, by what they show. */
  pictures: z.array(z.object({ name: z.string(), file: z.string(), caption: z.string() })).default([]),
  zoom: z.object({ top: z.number(), left: z.number(), size: z.number() }).nullable().default(null),
  /** Version, machine and date. */
  footer: z.string(),
});

export type Scalar = z.infer<typeof scalar>;
export type RunOutcome = z.infer<typeof outcomeSchema>;

export interface Run {
  /** The folder's name. */
  readonly name: string;
  readonly folder: string;
  readonly settings: Readonly<Record<string, Scalar>>;
  readonly history: readonly StepRecord[];
  /** Null while the run goes on, or when it was broken off. */
  readonly outcome: RunOutcome | null;
  readonly pictures: readonly { name: string; caption: string; image: Image }[];
}

/** Keeps what came out of a run; numbers that JSON does not have become null. */
export async function writeOutcome(folder: string, outcome: RunOutcome): Promise<void> {
  await writeFileAtomic(join(folder, OUTCOME_FILE), `${JSON.stringify(outcome, null, 2)}\n`);
}

/**
 * Reads a run's folder: that of a training command, or any folder that a `Trainer` wrote to.
 * @throws FileError when it is no such folder, or when a file in it is damaged
 */
export async function readRun(folder: string): Promise<Run> {
  const found = await stat(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') throw new FileError(folder, `Cannot read the run ${folder}: it does not exist`);
    throw FileError.fromSystem(folder, 'read', error);
  });
  if (!found.isDirectory()) throw new FileError(folder, `Cannot read the run ${folder}: it is not a folder`);
  const log = join(folder, LOG_FILE);
  await stat(log).catch(() => {
    throw new FileError(log, `Expected the folder of a training run but ${folder} holds no ${LOG_FILE}`);
  });
  const history = await readRunLog(log);
  if (history.length === 0) throw new FileError(log, `Expected a run with finished steps but the log of ${folder} is still empty`);
  const outcome = await readJson(join(folder, OUTCOME_FILE), outcomeSchema);
  const pictures = await Promise.all(
    (outcome?.pictures ?? []).map(async ({ name, file, caption }) => ({
      name,
      caption,
      image: await readImage(join(folder, basename(file))),
    })),
  );
  const settings = (await readJson(join(folder, SETTINGS_FILE), settingsSchema)) ?? (await checkpointSettings(folder));
  return { name: basename(resolve(folder)), folder, settings, history, outcome, pictures };
}

/** Null when there is no such file. */
async function readJson<T>(path: string, schema: z.ZodType<T>): Promise<T | null> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw FileError.fromSystem(path, 'read', error);
  });
  if (text === null) return null;
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    const issue = error instanceof z.ZodError ? error.issues[0] : undefined;
    const where = issue === undefined ? '' : ` (${issue.path.join('.')}: ${issue.message})`;
    throw new FileError(path, `Cannot read ${path}: it is damaged${where}`, { cause: error });
  }
}

/** What the checkpoint knows, for runs that no command started: the loop's settings and the model's options. */
async function checkpointSettings(folder: string): Promise<Record<string, Scalar>> {
  const path = join(folder, CHECKPOINT_FILE);
  const exists = await stat(path).then(
    () => true,
    () => false,
  );
  if (!exists) return {};
  const checkpoint = await readCheckpoint(path);
  try {
    const kept = checkpoint.training?.state.settings;
    const all = { model: checkpoint.model.name, ...checkpoint.model.options, ...(typeof kept === 'object' && kept !== null ? kept : {}) };
    return Object.fromEntries(Object.entries(all).map(([name, value]) => [name, scalar.safeParse(value).data ?? JSON.stringify(value)]));
  } finally {
    disposeCheckpoint(checkpoint);
  }
}
