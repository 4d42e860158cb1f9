import { existsSync } from 'node:fs';

/** A Chromium on this machine (`TAUTGRAD_CHROMIUM`, or the places of Debian's packages), or null. */
export const chromiumPath: string | null =
  [process.env.TAUTGRAD_CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(
    (path) => path !== undefined && existsSync(path),
  ) ?? null;
