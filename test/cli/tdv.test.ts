import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { addGaussianNoise, deadLeaves, readImage, writeImage } from '../../src/data/index.js';
import { psnr } from '../../src/metrics/index.js';
import { readSafetensors, writeSafetensors } from '../../src/train/index.js';
import { expectFailure, tautgrad } from '../support/command.js';
import { sharedFolder, temporaryFolder } from '../support/folders.js';
import { folderOfImages } from '../support/image-folders.js';

const tiny = ['--features', '2', '--macro-blocks', '1', '--stages', '2', '--batch', '2', '--patch', '16'];

describe('tautgrad train tdv', { timeout: 120_000 }, () => {
  it('trains, keeps the constraints, and resumes to the same weights; its network denoises and is evaluated', async () => {
    const folder = temporaryFolder();
    const data = await folderOfImages(2);
    const args = ['train', 'tdv', ...tiny, '--data', data, '--seed', '3', '--learning-rate', '0.01'];
    const trained = await tautgrad([...args, '--steps', '6', '--out', 'run', '--json'], { cwd: folder });
    expect(trained.stderr).toContain('TDV^1 with 2 features, 2 steps');
    expect(trained.code).toBe(0);
    const model = await readSafetensors(join(folder, 'run/model.safetensors'));
    const K = model.tensors.get('model.R.K1.weight')!.data as Float32Array;
    for (const filter of [K.subarray(0, 9), K.subarray(9, 18)]) {
      expect(Math.abs(filter.reduce((a, b) => a + b))).toBeLessThan(1e-6);
      expect(Math.hypot(...filter)).toBeLessThan(1 + 1e-6);
    }
    expect(model.tensors.get('model.T')!.data[0]).toBeGreaterThan(0);
    const log = readFileSync(join(folder, 'run/log.jsonl'), 'utf8').trim().split('\n');
    expect(JSON.parse(log[5] as string)).toMatchObject({ step: 6, metrics: { T: expect.any(Number), lambda: expect.any(Number) } });
    expect(readFileSync(join(folder, 'run/report.html'), 'utf8')).toContain('total deep variation');

    const scored = await tautgrad(['eval', 'denoise', '--model', 'run/model.safetensors', '--data', data, '--sigma', '15', '--json'], {
      cwd: folder,
    });
    expect(scored.code).toBe(0);
    expect((JSON.parse(scored.stdout) as { images: unknown[] }).images).toHaveLength(2);

    await writeImage(join(folder, 'photo.png'), deadLeaves({ height: 30, width: 40, channels: 1, seed: 4 }));
    for (const [what, ...more] of [['time'], ['surface'], ['eigen'], ['sensitivity', '--other', 'run/model.safetensors']]) {
      const args = [
        'explore',
        what as string,
        '--model',
        'run/model.safetensors',
        '--image',
        'photo.png',
        '--size',
        '24',
        '--json',
        ...more,
      ];
      const explored = await tautgrad(args, { cwd: folder });
      expect(explored.stderr).toBe('');
      expect(JSON.parse(explored.stdout)).toMatchObject({ report: `${what}.html` });
      expect(readFileSync(join(folder, `${what}.html`), 'utf8')).toContain('<svg ');
    }

    await writeImage(join(folder, 'noisy.png'), deadLeaves({ height: 40, width: 31, channels: 3, seed: 1 }));
    const denoised = await tautgrad(['denoise', 'noisy.png', 'clean.png', '--model', 'run/model.safetensors', '--json'], { cwd: folder });
    expect(denoised.code).toBe(0);
    expect(JSON.parse(denoised.stdout)).toMatchObject({ width: 31, height: 40, channels: 3, method: 'network', sigma: expect.any(Number) });
  });

  it('refuses what does not fit', async () => {
    const folder = temporaryFolder();
    const fails = async (args: string[], code: 1 | 2, sentence: string): Promise<void> => {
      expect(expectFailure(await tautgrad(args, { cwd: folder }), code)).toContain(sentence);
    };
    await fails(['train', 'tdv', '--macro-blocks', '0'], 2, 'Expected a whole number greater than 0');
    await fails(['train', 'tdv', '--scheme', 'other'], 2, 'scheme');
    await writeImage(join(folder, 'tiny.png'), deadLeaves({ height: 4, width: 9, channels: 1, seed: 1 }));
    await writeSafetensors(join(folder, 'other.safetensors'), new Map([['x', { dtype: 'F32', shape: [1], data: new Float32Array(1) }]]));
    await fails(['denoise', 'tiny.png', 'out.png', '--model', 'other.safetensors'], 1, 'is not a model or checkpoint of tautgrad');
    await fails(['denoise', 'tiny.png', 'out.png', '--sigma', '10'], 2, 'Expected --model with --sigma');
    const published = sharedFolder('data', 'weights');
    if (published !== null) {
      const weights = join(published, 'tdv3-25-gray.safetensors');
      await fails(['denoise', 'tiny.png', 'out.png', '--model', weights], 1, 'Expected images of at least 5 × 5 pixels');
    }
  });

  it('published weights remove noise of any level', async () => {
    const published = sharedFolder('data', 'weights');
    if (published === null) return console.warn('skipped: there are no published weights in ../shared/data/weights');
    const folder = temporaryFolder();
    const clean = deadLeaves({ height: 64, width: 70, channels: 1, seed: 2 });
    for (const [sigma, gain] of [
      [15, 3],
      [50, 4],
    ] as const) {
      await writeImage(join(folder, 'noisy.png'), addGaussianNoise(clean, sigma / 255, 5));
      const args = ['denoise', 'noisy.png', 'out.png', '--model', join(published, 'tdv3-25-gray.safetensors'), '--sigma', String(sigma)];
      expect((await tautgrad(args, { cwd: folder })).code).toBe(0);
      const [before, after] = [await readImage(join(folder, 'noisy.png')), await readImage(join(folder, 'out.png'))];
      expect(psnr(after, clean) - psnr(before, clean)).toBeGreaterThan(gain);
    }
  });
});
