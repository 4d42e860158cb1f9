import { spawn } from 'node:child_process';
import { expect } from 'vitest';
import { distFile } from './dist.js';

export interface Finished {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs the compiled `tautgrad` in a folder; `onOutput` sees standard error as it grows. */
export async function tautgrad(
  args: readonly string[],
  {
    cwd,
    env = {},
    onStderr,
  }: { cwd?: string; env?: Record<string, string>; onStderr?: (stderr: string, kill: (signal: NodeJS.Signals) => void) => void } = {},
): Promise<Finished> {
  const child = spawn(process.execPath, [distFile('cli/main.js'), ...args], {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TAUTGRAD_DEBUG: '', ...env },
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
    onStderr?.(stderr, (signal) => child.kill(signal));
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  return { code, stdout, stderr };
}

/** Checks that a command failed as users should see it, and gives the sentence. */
export function expectFailure({ code, stdout, stderr }: Finished, wanted: 1 | 2 = 1): string {
  expect(stderr).toMatch(/^tautgrad: [^\n]+\n$/);
  expect(stderr).not.toMatch(/\bat .*:\d+/);
  expect(stdout).toBe('');
  expect(code).toBe(wanted);
  return stderr.slice('tautgrad: '.length).trim();
}
