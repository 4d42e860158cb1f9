/**
 * The TV solvers against proxTV.
 *
 *   PROXTV_LIB=/path/libproxtv.so npm run bench:tv [-- --threads 1,2 --repeat 9 --json --only lines,smooth --match 'lambda 1' --plot]
 *
 * Same process, same inputs, in turns; medians. Ours through the public TypeScript calls, float32 against proxTV's double unless said.
 * proxTV's line solvers are called line by line through a foreign-function interface whose cost, measured on lines of one sample, is taken
 * off. The ratio is the fastest peer's time over ours. bench/tv/ has one file per claim, bench/tv/measure.ts the rows of --json. The line
 * of 1e8 (--only huge) and --plot (time against gap, bench/plots) run only when they are asked for.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { loadProxTv } from './peers/proxtv.js';
import * as gapPlot from './tv/gap-plot.js';
import * as hugeLine from './tv/huge-line.js';
import * as images from './tv/images.js';
import * as lines from './tv/lines.js';
import { describe, type Settings } from './tv/measure.js';
import * as megapixels from './tv/megapixels.js';
import * as paper from './tv/paper.js';
import * as volumes from './tv/volumes.js';

const PARTS: Record<string, (settings: Settings) => void | Promise<void>> = {
  lines: lines.run,
  smooth: lines.runSmooth,
  long: lines.runLong,
  paper: paper.run,
  synthetic: images.runSynthetic,
  natural: images.runNatural,
  batch: images.runBatch,
  megapixels: megapixels.run,
  volumes: volumes.run,
  huge: hugeLine.run,
  plot: gapPlot.run,
};
const ASKED_FOR = ['huge', 'plot'];

const { values: args } = parseArgs({
  options: {
    threads: { type: 'string', default: '1,2' },
    repeat: { type: 'string', default: '9' },
    json: { type: 'boolean', default: false },
    only: {
      type: 'string',
      default: Object.keys(PARTS)
        .filter((part) => !ASKED_FOR.includes(part))
        .join(','),
    },
    match: { type: 'string', default: '' },
    plot: { type: 'boolean', default: false },
    child: { type: 'string' },
  },
});
const parts = args.plot ? ['plot'] : args.only.split(',');
for (const part of parts)
  if (!(part in PARTS)) throw new RangeError(`Expected ${Object.keys(PARTS).join(', ')} for --only but received ${part}`);

if (args.child === undefined) {
  for (const n of args.plot ? ['1'] : args.threads.split(',')) {
    // The size of the thread pool is fixed when the process starts.
    const { status } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), ...process.argv.slice(2), '--child', n], {
      stdio: 'inherit',
      env: { ...process.env, TAUTGRAD_THREADS: n, OMP_NUM_THREADS: n },
    });
    if (status !== 0) process.exitCode = 1;
  }
} else {
  const settings: Settings = {
    threads: Number(args.child),
    repeat: Number(args.repeat),
    json: args.json,
    match: args.match,
    proxTv: loadProxTv(),
  };
  if (!args.json) console.log(describe(settings));
  for (const part of parts) await PARTS[part]?.(settings);
}
