import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { addGaussianNoise, deadLeaves, readImage, writeImage } from '../../src/data/index.js';
import { psnr } from '../../src/metrics/index.js';
import { describeNetwork, VariationalNetwork } from '../../src/models/tdv/index.js';
import { readSafetensors, writeCheckpoint, writeSafetensors } from '../../src/train/index.js';
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

  it('learns to enlarge from the weights of a denoiser; both are regularisers of reconstructions', async () => {
    const folder = temporaryFolder();
    const data = await folderOfImages(2);
    const run = async (...args: string[]): Promise<unknown> => {
      const { code, stdout, stderr } = await tautgrad([...args, '--json'], { cwd: folder });
      expect(code, stderr).toBe(0);
      return JSON.parse(stdout);
    };
    await run('train', 'tdv', ...tiny, '--data', data, '--steps', '2', '--out', 'noise');
    const task = ['train', 'tdv', '--task', 'sr', '--scale', '2', '--from', 'noise/model.safetensors', '--data', data];
    const sizes = ['--batch', '2', '--patch', '16', '--validation', data, '--steps', '3'];
    expect(await run(...task, ...sizes, '--out', 'sr')).toMatchObject({
      steps: 3,
      scores: {
        rows: [
          ['bicubic', expect.any(Number)],
          ['TDV^1', expect.any(Number)],
        ],
      },
    });
    expect(JSON.parse(readFileSync(join(folder, 'sr/run.json'), 'utf8'))).toMatchObject({
      task: 'sr',
      scale: 2,
      features: 2,
      macroBlocks: 1,
      stages: 2,
    });
    for (const file of ['bicubic.png', 'network.png', 'report.html']) expect(existsSync(join(folder, 'sr', file))).toBe(true);

    await writeImage(join(folder, 'photo.png'), deadLeaves({ height: 25, width: 30, channels: 3, seed: 4 }));
    const picture = ['reconstruct', 'sr', '--image', 'photo.png', '--scale', '2', '--lambda', '0.001'];
    expect(await run(...picture, '--model', 'sr/model.safetensors')).toMatchObject({
      methods: [{ name: 'bicubic' }, { name: 'tv', lambda: 0.001 }, { name: 'tdv', lambda: null }],
    });
    expect(await readImage(join(folder, 'runs/sr/tdv.png'))).toMatchObject({ channels: 3, height: 24, width: 30 });
    const ct = ['reconstruct', 'ct', '--size', '16', '--angles', '8', '--model', 'noise/model.safetensors', '--iterations', '6'];
    expect(await run(...ct, '--data-weight', '2.5', '--lambda', '0.5')).toMatchObject({
      methods: [{}, { lambda: 0.5 }, { name: 'tdv', lambda: 2.5 }],
    });
    const searched = (await run(...ct)) as { methods: { lambda: number }[] };
    expect(searched.methods[2]!.lambda).toBeGreaterThan(0);
    expect(readFileSync(join(folder, 'runs/ct/report.html'), 'utf8')).toContain('the best that total variation and the network can do');
  });

  it('refuses networks and options that are for another task', async () => {
    const folder = temporaryFolder();
    const network = new VariationalNetwork({ features: 2, macroBlocks: 1, scale: 2 });
    const model = { ...describeNetwork(network), state: network.stateDict() };
    await writeCheckpoint(join(folder, 'sr.safetensors'), { model, training: null });
    network.dispose();
    await writeImage(join(folder, 'photo.png'), deadLeaves({ height: 25, width: 30, channels: 3, seed: 4 }));
    const fails = async (sentence: string, ...args: string[]): Promise<void> => {
      const told = await tautgrad(args, { cwd: folder });
      expect(told.code).toBe(2);
      expect(told.stderr.trim().split('\n').at(-1)).toContain(sentence);
    };
    const use = ['--model', 'sr.safetensors'];
    const sr = ['reconstruct', 'sr', '--image', 'photo.png'];
    await fails(
      'Expected a network for denoising but sr.safetensors is one for super-resolution by 2',
      'reconstruct',
      'ct',
      '--size',
      '16',
      ...use,
    );
    await fails('Expected a network for super-resolution by 3 but', ...sr, '--scale', '3', ...use);
    await fails('is one for super-resolution by 2', 'denoise', 'photo.png', 'out.png', ...use);
    await fails('has learned its own', ...sr, '--scale', '2', ...use, '--data-weight', '3');
    await fails('Expected --method tdv with --model but received fbp', 'reconstruct', 'ct', '--method', 'fbp', ...use);
    await fails('Expected --model FILE with --method tdv but received none', 'reconstruct', 'mri', '--method', 'tdv');
    await fails('Expected no --features with --from', 'train', 'tdv', '--from', 'sr.safetensors', '--features', '4');
    await fails('Expected a multiple of 3 for --patch but received 16', 'train', 'tdv', '--task', 'sr', '--patch', '16');
    await fails('Expected --task sr with --scale but received denoise', 'train', 'tdv', '--scale', '2');
    await fails('Expected 2, 3 or 4', 'train', 'tdv', '--task', 'sr', '--scale', '5');
    await fails('Expected --task denoise with --sigma but received sr', 'train', 'tdv', '--task', 'sr', '--sigma', '15');
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
      const small = await tautgrad(['reconstruct', 'ct', '--size', '4', '--model', weights], { cwd: folder });
      expect([small.code, small.stderr]).toEqual([2, expect.stringContaining('Expected an image of at least 5x5 pixels but received 4x4')]);
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
