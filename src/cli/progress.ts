import cliProgress from 'cli-progress';
import type { StepRecord } from '../train/index.js';
import { formatDuration } from './output.js';

/** Seconds between lines where a bar cannot be drawn. */
const lineInterval = 5;

/** Shows a training run on standard error: a bar on a terminal, else a line every few seconds. */
export class TrainingProgress {
  readonly #bar: cliProgress.SingleBar | null;
  readonly #started = performance.now();
  #lastLine = 0;
  /** Exponential averages: single steps are noisy. */
  readonly #smooth = { loss: NaN, psnr: NaN, rate: NaN };

  constructor(stream: NodeJS.WriteStream = process.stderr) {
    this.#bar = stream.isTTY
      ? new cliProgress.SingleBar({
          stream,
          format: '{bar} {percentage}% · step {step} · loss {loss} · PSNR {psnr} dB · {rate} samples/s · {left} left',
          barCompleteChar: '█',
          barIncompleteChar: '░',
          barsize: 20,
          fps: 5,
          hideCursor: true,
          // A kill or a throw must not leave the terminal without its cursor.
          gracefulExit: true,
        })
      : null;
    this.#bar?.start(1000, 0, { step: 0, loss: '–', psnr: '–', rate: '–', left: '–' });
  }

  update(record: StepRecord, secondsLeft: number): void {
    const average = (key: 'loss' | 'psnr' | 'rate', value: number): number => {
      const before = this.#smooth[key];
      this.#smooth[key] = Number.isFinite(before) ? before + 0.1 * (value - before) : value;
      return this.#smooth[key];
    };
    const shown = {
      step: record.step,
      loss: average('loss', record.loss).toExponential(2),
      psnr: average('psnr', record.metrics.psnr ?? NaN).toFixed(2),
      rate: average('rate', record.samplesPerSecond).toFixed(0),
      left: formatDuration(secondsLeft),
    };
    const elapsed = (performance.now() - this.#started) / 1000;
    if (this.#bar !== null) {
      this.#bar.update(Math.round((1000 * elapsed) / Math.max(elapsed + secondsLeft, 1e-9)), shown);
    } else if (elapsed - this.#lastLine >= lineInterval) {
      this.#lastLine = elapsed;
      process.stderr.write(
        `step ${shown.step} · loss ${shown.loss} · PSNR ${shown.psnr} dB · ${shown.rate} samples/s · ${shown.left} left\n`,
      );
    }
  }

  /** Ends the bar's line. */
  stop(): void {
    this.#bar?.stop();
  }
}
