#!/usr/bin/env node
import { reportFailure } from './failure.js';
/** The `tautgrad` command. */
import { createProgram } from './program.js';

// A reader that has seen enough (`tautgrad … | head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});

try {
  await createProgram().parseAsync(process.argv);
} catch (error) {
  process.exitCode = reportFailure(error);
}
