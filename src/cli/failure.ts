import { CommanderError } from 'commander';

/** Exit codes: 0 success, 1 failure, 2 wrong use, 130 interrupted (128 + SIGINT, as shells count). */
export const exitCode = { failure: 1, usage: 2, interrupted: 130 } as const;

/** A wrong command line beyond what commander checks itself. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/**
 * Says on standard error, in one sentence, what went wrong. `TAUTGRAD_DEBUG=1` adds where.
 * @returns the exit code
 */
export function reportFailure(error: unknown): number {
  if (error instanceof CommanderError) {
    // Help and version end here too, with exit code 0; commander has written what there is to say.
    return error.exitCode === 0 ? 0 : exitCode.usage;
  }
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`tautgrad: ${message.replace(/\s*\n\s*/g, ' ')}\n`);
  if (process.env.TAUTGRAD_DEBUG && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  return error instanceof UsageError ? exitCode.usage : exitCode.failure;
}
