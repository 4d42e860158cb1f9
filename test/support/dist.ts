import { existsSync } from 'node:fs';
import { resolve } from 'node:path';

/** The path of a compiled file, for tests that start child processes; `npm test` compiles first. */
export function distFile(relative: string): string {
  const path = resolve(import.meta.dirname, '../../dist', relative);
  if (!existsSync(path)) throw new Error(`Expected the compiled file ${path}: run npm run build:ts`);
  return path;
}
