/** The options of the training commands: what they do to the run, that they survive a resume, and what is refused. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { StepRecord } from '../../src/train/index.js';
import { expectFailure, tautgrad } from '../support/command.js';
import { temporaryFolder } from '../support/folders.js';
import { folderOfImages } from '../support/image-folders.js';

const tiny = ['--depth', '2', '--features', '2', '--batch', '2', '--patch', '16'];
const train = (...args: string[]): string[] => ['train', 'denoise', ...args];
const log = (...path: string[]): StepRecord[] =>
  readFileSync(join(...path, 'log.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as StepRecord);

describe('tautgrad train denoise', { timeout: 240_000 }, () => {
  it('trains the same network whatever the number of workers and threads', async () => {
    const folder = temporaryFolder();
    const data = await folderOfImages(5);
    const args = train(...tiny, '--data', data, '--steps', '30', '--accumulate', '2', '--clip', '0.5', '--ema', '0.9');
    for (const [out, workers, threads] of [
      ['a', '1', '1'],
      ['b', '3', '2'],
    ] as const) {
      const { code } = await tautgrad([...args, '--workers', workers, '--out', out], { cwd: folder, env: { TAUTGRAD_THREADS: threads } });
      expect(code).toBe(0);
    }
    const bytes = (run: string, file: string): Buffer => readFileSync(join(folder, run, file));
    expect(bytes('a', 'model.safetensors').equals(bytes('b', 'model.safetensors'))).toBe(true);
    expect(log(folder, 'a').map((r) => r.loss)).toEqual(log(folder, 'b').map((r) => r.loss));
  });

  it('resumes to the same bits with every option, evaluations and plateau included', async () => {
    const folder = temporaryFolder();
    const data = await folderOfImages(3);
    const validation = await folderOfImages(2, 1, 40, 50);
    const options = [
      ...['--data', data, '--validation', validation, '--evaluate-every', '20', '--schedule', 'plateau', '--decay', '0.25'],
      ...['--decay-every', '20', '--warm-up', '10', '--clip', '0.01', '--accumulate', '2', '--ema', '0.9', '--learning-rate', '0.02'],
    ];
    const args = train(...tiny, ...options, '--steps', '300');
    expect((await tautgrad([...args, '--out', 'whole'], { cwd: folder })).code).toBe(0);
    let interrupted = false;
    const stopped = await tautgrad([...args, '--out', 'parts', '--json'], {
      cwd: folder,
      onStderr: (text, kill) => {
        if (interrupted || !text.includes('Training:')) return;
        interrupted = true;
        setTimeout(() => kill('SIGINT'), 150);
      },
    });
    expect(stopped.code).toBe(130);
    // Options that the run already has may be repeated.
    const again = [...options.slice(0, 4), '--clip', '0.01', '--workers', '1'];
    const resumed = await tautgrad(train('--out', 'parts', '--resume', ...again), { cwd: folder });
    expect(resumed.code).toBe(0);
    expect(resumed.stdout).toContain('Network of the best evaluation: parts/model.safetensors');
    const same = (file: string): boolean => readFileSync(join(folder, 'whole', file)).equals(readFileSync(join(folder, 'parts', file)));
    expect(['model.safetensors', 'best.safetensors', 'network.png'].map(same)).toEqual([true, true, true]);
    const [whole, parts] = [log(folder, 'whole'), log(folder, 'parts')];
    expect(parts.map((r) => [r.step, r.loss, r.learningRate, r.metrics])).toEqual(
      whole.map((r) => [r.step, r.loss, r.learningRate, r.metrics]),
    );
    expect(whole.filter((r) => 'validation.psnr' in r.metrics)).toHaveLength(15);
    // The warm-up, and the plateau's first decay at the earliest after two evaluations.
    expect(whole.slice(0, 10).map((r) => r.learningRate)).toEqual(Array.from({ length: 10 }, (_, i) => ((i + 1) / 10) * 0.02));
    expect(whole[39]!.learningRate).toBe(0.02);
    expect(new Set(whole.slice(10).map((r) => r.learningRate)).size).toBeGreaterThan(1);
  });

  it('follows its schedules', async () => {
    const folder = temporaryFolder();
    const rates = async (out: string, ...args: string[]): Promise<number[]> => {
      const { code } = await tautgrad(train(...tiny, '--steps', '8', '--learning-rate', '0.004', '--out', out, ...args), { cwd: folder });
      expect(code).toBe(0);
      return log(folder, out).map((r) => r.learningRate);
    };
    expect(await rates('constant', '--schedule', 'constant', '--warm-up', '4')).toEqual([0.001, 0.002, 0.003, ...Array(5).fill(0.004)]);
    expect(await rates('step', '--schedule', 'step', '--warm-up', '0', '--decay', '0.5', '--decay-every', '3')).toEqual([
      ...Array(3).fill(0.004),
      ...Array(3).fill(0.002),
      ...Array(2).fill(0.001),
    ]);
    const cosine = await rates('cosine', '--warm-up', '0');
    cosine.forEach((rate, k) => {
      expect(rate).toBeCloseTo(0.004 * (0.01 + 0.99 * 0.5 * (1 + Math.cos((Math.PI * k) / 8))), 12);
    });
  });

  it('stops when evaluations bring nothing new', async () => {
    const folder = temporaryFolder();
    const validation = await folderOfImages(1, 1, 40, 50);
    const { code, stdout } = await tautgrad(
      // A rate so small that nothing changes: the first evaluation stays the best.
      train(
        ...tiny,
        '--validation',
        validation,
        '--evaluate-every',
        '2',
        '--patience',
        '3',
        '--learning-rate',
        '1e-30',
        '--out',
        'run',
        '--json',
      ),
      { cwd: folder },
    );
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ stoppedEarly: true, steps: 8, scores: { columns: ['method', 'PSNR (dB)', 'SSIM'] } });
    expect(existsSync(join(folder, 'run/best.safetensors'))).toBe(true);
  });

  it('refuses what does not go together, and what the run to resume does not have', async () => {
    const folder = temporaryFolder();
    const usage = async (...args: string[]) => expectFailure(await tautgrad(train(...args), { cwd: folder }), 2);
    expect(await usage('--decay', '0.5')).toBe('Expected --schedule step or plateau with --decay but received cosine');
    expect(await usage('--schedule', 'constant', '--decay-every', '5')).toBe(
      'Expected --schedule step or plateau with --decay-every but received constant',
    );
    expect(await usage('--patience', '2')).toBe('Expected --validation FOLDER with --patience but received none');
    expect(await usage('--evaluate-every', '2')).toBe('Expected --validation FOLDER with --evaluate-every but received none');
    expect(await usage('--workers', '0')).toContain('Expected a whole number greater than 0 but received "0".');
    expect(await usage('--schedule', 'linear')).toContain('Allowed choices are cosine, step, plateau, constant.');
    expect(await usage('--ema', '1')).toContain('Expected a number between 0 and 1 but received "1".');
    expect(await usage('--clip', '0')).toContain('Expected a number greater than 0 but received "0".');
    expect(await usage('--accumulate', '0')).toContain('Expected a whole number greater than 0 but received "0".');
    expect(await usage('--warm-up', '-1')).toContain('--warm-up');
    expect(existsSync(join(folder, 'runs'))).toBe(false);

    await tautgrad(train(...tiny, '--steps', '2', '--clip', '1', '--out', 'run'), { cwd: folder });
    expect(await usage('--out', 'run', '--resume', '--clip', '2')).toBe('Expected --clip 1, as in the run to resume, but received 2');
    expect(await usage('--out', 'run', '--resume', '--ema', '0.5')).toBe(
      'Expected --ema not to be given, as in the run to resume, but received 0.5',
    );
    const settings = join(folder, 'run/run.json');
    const kept = readFileSync(settings, 'utf8');
    const fail = async () => expectFailure(await tautgrad(train('--out', 'run', '--resume'), { cwd: folder }));
    writeFileSync(settings, kept.replace('"train denoise"', '"quickstart"'));
    expect(await fail()).toBe('Cannot resume: the run in run was made by "tautgrad quickstart"');
    writeFileSync(settings, kept.replace('"clip": 1', '"clip": -1'));
    expect(await fail()).toMatch(/^Cannot resume: the settings in run\/run\.json are damaged \(clip: .+\)$/);
    // A settings file that was changed by hand does not fit its checkpoint.
    writeFileSync(settings, kept.replace('"clip": 1', '"clip": 3'));
    expect(await fail()).toBe('Expected to resume with the settings of run/last.safetensors, {"clipNorm":1}, but received {"clipNorm":3}');
  });

  it('names what is wrong with the folder of validation images', async () => {
    const folder = temporaryFolder();
    const fail = async (validation: string) => expectFailure(await tautgrad(train('--validation', validation), { cwd: folder }));
    expect(await fail('none')).toMatch(/^Cannot read the folder .*none: it does not exist$/);
    expect(await fail(await folderOfImages(1, 1, 8))).toMatch(/^Expected images of at least 11x11 pixels but .*0\.png has 12x8$/);
  });
});
