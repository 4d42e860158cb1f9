import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { onTestFinished } from 'vitest';

/** A fresh folder that is removed when the test ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'tautgrad-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** The folder of shared research data (images, reference weights), or null where it is absent. */
export function sharedFolder(...parts: string[]): string | null {
  const root = process.env.TAUTGRAD_SHARED ?? resolve(import.meta.dirname, '../../../shared');
  const folder = join(root, ...parts);
  return existsSync(folder) ? folder : null;
}
