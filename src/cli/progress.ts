import cliProgress from 'cli-progress';
import type { StepRecord } from '../train/index.js';
import { formatDuration } from './output.js';

/** Seconds between lines where a bar cannot be drawn. */
const lineInterval = 5;

/** What a bar can be drawn on: a terminal; a file or a pipe gets lines. */
export type ProgressStream = NodeJS.WritableStream & { isTTY?: boolean };

/** Shows a training run on standard error: a bar on a terminal, else a line every few seconds. */
export class TrainingProgress {
  readonly #stream: ProgressStream;
  readonly #bar: cliProgress.SingleBar | null;
  readonly #started = performance.now();
  #lastLine = 0;
  /** Exponential averages: single steps are noisy. */
  readonly #smooth = { loss: NaN, psnr: NaN, rate: NaN };

  constructor(stream: ProgressStream = process.stderr) {
    this.#stream = stream;
    this.#bar = stream.isTTY
      ? new cliProgress.SingleBar({
          stream,
          // At most 80 columns.
          format: '{bar} {percentage}% · step {step} · loss {loss}{psnr} · {rate}/s · {left} left',
          barCompleteChar: '█',
          barIncompleteChar: '░',
          barsize: 12,
          fps: 5,
          hideCursor: true,
          // A kill or a throw must not leave the terminal without its cursor.
          gracefulExit: true,
        })
      : null;
    this.#bar?.start(1000, 0, { step: 0, loss: '–', psnr: '', rate: '–', left: '–' });
  }

  update(record: StepRecord, secondsLeft: number): void {
    const average = (key: 'loss' | 'psnr' | 'rate', value: number): number => {
      const before = this.#smooth[key];
      this.#smooth[key] = Number.isFinite(before) ? before + 0.1 * (value - before) : value;
      return this.#smooth[key];
    };
    const { psnr } = record.metrics;
    const shown = {
      step: record.step,
      loss: average('loss', record.loss).toExponential(1),
      psnr: psnr === undefined ? '' : ` · ${average('psnr', psnr).toFixed(1)} dB`,
      rate: average('rate', record.samplesPerSecond).toFixed(0),
      left: formatDuration(secondsLeft),
    };
    const elapsed = (performance.now() - this.#started) / 1000;
    if (this.#bar !== null) {
      this.#bar.update(Math.round((1000 * elapsed) / Math.max(elapsed + secondsLeft, 1e-9)), shown);
    } else if (elapsed - this.#lastLine >= lineInterval) {
      this.#lastLine = elapsed;
      this.#stream.write(`step ${shown.step} · loss ${shown.loss}${shown.psnr} · ${shown.rate} samples/s · ${shown.left} left\n`);
    }
  }

  /** Ends the bar's line. */
  stop(): void {
    this.#bar?.stop();
  }
}
