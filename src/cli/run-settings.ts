import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { FileError, writeFileAtomic } from '../data/index.js';
import { UsageError } from './failure.js';

/** What makes a training run, kept as `run.json` in its folder, so that `--resume` needs nothing else. */
const schema = z.object({
  command: z.literal('train denoise'),
  /** Folder of clean images; null: dead leaves. */
  data: z.string().nullable(),
  /** Of 255. */
  sigma: z.number().positive(),
  /** Null: the time decides. */
  steps: z.int().positive().nullable(),
  /** Null: the number of steps decides. */
  minutes: z.number().positive().nullable(),
  channels: z.union([z.literal(1), z.literal(3)]),
  depth: z.int().min(2),
  features: z.int().positive(),
  batch: z.int().positive(),
  patch: z.int().positive(),
  learningRate: z.number().positive(),
  seed: z.int().nonnegative(),
});

export type RunSettings = z.infer<typeof schema>;

const fileName = 'run.json';

export async function writeRunSettings(folder: string, settings: RunSettings): Promise<void> {
  await writeFileAtomic(join(folder, fileName), `${JSON.stringify(settings, null, 2)}\n`);
}

/** @throws FileError when the folder holds no run, or its settings are damaged */
export async function readRunSettings(folder: string): Promise<RunSettings> {
  const path = join(folder, fileName);
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') throw new FileError(path, `Cannot resume: the folder ${folder} holds no run (there is no ${fileName})`);
    throw FileError.fromSystem(path, 'read', error);
  });
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    const where = error instanceof z.ZodError ? ` (${error.issues[0]?.path.join('.')}: ${error.issues[0]?.message})` : '';
    throw new FileError(path, `Cannot resume: the settings in ${path} are damaged${where}`, { cause: error });
  }
}

/** Throws unless every option given on the command line says what the run already does. */
export function requireSameSettings(settings: RunSettings, given: Partial<Record<keyof RunSettings, unknown>>): void {
  for (const [name, value] of Object.entries(given)) {
    const kept = settings[name as keyof RunSettings];
    if (value !== undefined && value !== kept) {
      const option = name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
      throw new UsageError(`Expected --${option} ${kept ?? 'not to be given'}, as in the run to resume, but received ${String(value)}`);
    }
  }
}
