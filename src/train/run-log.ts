/** The record of a run: one JSON object per line in `log.jsonl`. */
import { appendFile, readFile } from 'node:fs/promises';
import { z } from 'zod';
import { FileError, writeFileAtomic } from '../data/index.js';

/** What a training step leaves behind. */
export interface StepRecord {
  readonly step: number;
  readonly loss: number;
  readonly learningRate: number;
  readonly samplesPerSecond: number;
  /** Further numbers by name: PSNR, lambdas, … */
  readonly metrics: Readonly<Record<string, number>>;
}

const recordSchema = z.object({
  step: z.int().positive(),
  loss: z.number(),
  learningRate: z.number(),
  // JSON has no infinity, which a step too short to be timed would give.
  samplesPerSecond: z
    .number()
    .nullable()
    .transform((v) => v ?? Number.NaN),
  metrics: z.record(
    z.string(),
    z
      .number()
      .nullable()
      .transform((v) => v ?? Number.NaN),
  ),
});

/**
 * Reads the records up to and including `lastStep`. A last line that a crash cut short is passed over; a file that is not there has none.
 * @throws FileError when another line is damaged
 */
export async function readRunLog(path: string, lastStep = Number.POSITIVE_INFINITY): Promise<StepRecord[]> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw FileError.fromSystem(path, 'read', error);
  });
  const lines = text.split('\n');
  const records: StepRecord[] = [];
  for (const [i, line] of lines.entries()) {
    if (line === '') continue;
    try {
      const record = recordSchema.parse(JSON.parse(line));
      if (record.step <= lastStep) records.push(record);
    } catch (error) {
      // A complete line ends with a line break, so that the one after it is empty at least.
      if (i === lines.length - 1) break;
      throw new FileError(path, `Cannot read ${path}: line ${i + 1} is damaged`, { cause: error });
    }
  }
  return records;
}

/** Replaces the log: a resumed run drops what came after its checkpoint. */
export async function writeRunLog(path: string, records: readonly StepRecord[]): Promise<void> {
  await writeFileAtomic(path, records.map((record) => `${JSON.stringify(record)}\n`).join(''));
}

export async function appendRunLog(path: string, records: readonly StepRecord[]): Promise<void> {
  if (records.length > 0) await appendFile(path, records.map((record) => `${JSON.stringify(record)}\n`).join(''));
}
