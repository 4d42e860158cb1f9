/** The progress of a training run: a bar on a terminal, lines elsewhere. */
import { Writable } from 'node:stream';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { TrainingProgress } from '../../src/cli/progress.js';

class Screen extends Writable {
  text = '';
  readonly columns = 80;
  constructor(readonly isTTY: boolean) {
    super();
  }
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

const record = (step: number, metrics: Record<string, number> = { psnr: 28.125 }) => ({
  step,
  loss: 0.00123,
  learningRate: 1e-3,
  samplesPerSecond: 1650,
  metrics,
});
// The control sequences of terminals.
const plain = (text: string): string => text.replace(new RegExp(`${String.fromCharCode(27)}\\[[0-9;?]*[A-Za-z]`, 'g'), '\n');

afterEach(() => {
  vi.useRealTimers();
});

describe('TrainingProgress', () => {
  it('draws a bar that fits on a terminal of 80 columns, and gives the cursor back', () => {
    vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout', 'Date'] });
    const screen = new Screen(true);
    const progress = new TrainingProgress(screen);
    vi.advanceTimersByTime(30_000);
    progress.update(record(123456), 90 * 60 - 30);
    vi.advanceTimersByTime(1000);
    progress.stop();
    const lines = plain(screen.text).split('\n').filter(Boolean);
    const last = lines.filter((line) => line.includes('step 123456')).at(-1) ?? '';
    expect(last).toMatch(/^█*░+ 0% · step 123456 · loss 1\.2e-3 · 28\.1 dB · 1650\/s · 1:29:30 left$/);
    for (const line of lines) expect([...line].length).toBeLessThanOrEqual(80);
    expect(screen.text).toContain('\u001b[?25l');
    expect(screen.text.lastIndexOf('\u001b[?25h')).toBeGreaterThan(screen.text.lastIndexOf('\u001b[?25l'));
  });

  it('writes a line every five seconds elsewhere, with what the log has', () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const screen = new Screen(false);
    const progress = new TrainingProgress(screen);
    for (let step = 1; step <= 12; step++) {
      vi.advanceTimersByTime(1000);
      progress.update(record(step, {}), 100 - step);
    }
    progress.stop();
    expect(screen.text).toBe('step 5 · loss 1.2e-3 · 1650 samples/s · 1:35 left\nstep 10 · loss 1.2e-3 · 1650 samples/s · 1:30 left\n');
  });
});
