/** The record of a run: one JSON object per line in `log.jsonl`. */
import { appendFile, readFile } from 'node:fs/promises';
import { writeFileAtomic } from '../data/index.js';

/** What a training step leaves behind. */
export interface StepRecord {
  readonly step: number;
  readonly loss: number;
  readonly learningRate: number;
  readonly samplesPerSecond: number;
  /** Further numbers by name: PSNR, lambdas, … */
  readonly metrics: Readonly<Record<string, number>>;
}

/** Reads the records up to and including `lastStep`. A last line that a crash cut short is passed over. */
export async function readRunLog(path: string, lastStep = Number.POSITIVE_INFINITY): Promise<StepRecord[]> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  const records: StepRecord[] = [];
  for (const line of text.split('\n')) {
    if (line === '') continue;
    try {
      const record = JSON.parse(line) as StepRecord;
      if (record.step <= lastStep) records.push(record);
    } catch {
      break;
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
