import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { deadLeaves, readImage, writeImage } from '../../src/data/index.js';
import { readSafetensors } from '../../src/train/index.js';
import { expectFailure, tautgrad } from '../support/command.js';
import { temporaryFolder } from '../support/folders.js';
import { folderOfImages } from '../support/image-folders.js';

const tiny = ['--depth', '2', '--features', '2', '--batch', '2', '--patch', '16'];

describe('tautgrad train denoise', { timeout: 120_000 }, () => {
  it('stops at Ctrl-C with a checkpoint, and resumes to the bits of an undisturbed run', async () => {
    const folder = temporaryFolder();
    const data = await folderOfImages(2);
    const steps = 400;
    const args = ['train', 'denoise', ...tiny, '--data', data, '--steps', String(steps), '--seed', '3'];
    const whole = await tautgrad([...args, '--out', 'whole', '--json'], { cwd: folder });
    expect(whole.code).toBe(0);
    expect(JSON.parse(whole.stdout)).toMatchObject({ folder: 'whole', aborted: false, steps, model: 'whole/model.safetensors' });

    let interrupted = false;
    const stopped = await tautgrad([...args, '--out', 'parts', '--json'], {
      cwd: folder,
      onStderr: (text, kill) => {
        if (interrupted || !text.includes('Training:')) return;
        interrupted = true;
        setTimeout(() => kill('SIGINT'), 30);
      },
    });
    expect(stopped.code).toBe(130);
    const state = JSON.parse(stopped.stdout) as { aborted: boolean; steps: number; checkpoint: string };
    expect(state).toMatchObject({ aborted: true, checkpoint: 'parts/last.safetensors' });
    expect(state.steps).toBeLessThan(steps);
    expect(existsSync(join(folder, 'parts/model.safetensors'))).toBe(false);

    const resumed = await tautgrad(['train', 'denoise', '--out', 'parts', '--resume'], { cwd: folder });
    expect(resumed.code).toBe(0);
    expect(resumed.stderr).toContain(`Resuming at step ${state.steps}:`);
    expect(resumed.stdout).toContain(`Trained ${steps} steps`);
    const bytes = (run: string) => readFileSync(join(folder, run, 'model.safetensors'));
    expect(bytes('parts').equals(bytes('whole'))).toBe(true);
    expect(readFileSync(join(folder, 'parts/report.html'), 'utf8').match(/<svg /g)).toHaveLength(5);
    expect(readFileSync(join(folder, 'parts/log.jsonl'), 'utf8').trim().split('\n')).toHaveLength(steps);
  });

  it('leaves a readable checkpoint when killed, and does not start over an existing run', async () => {
    const folder = temporaryFolder();
    const args = ['train', 'denoise', ...tiny, '--minutes', '5', '--out', 'run'];
    let sent = false;
    const killed = await tautgrad(args, {
      cwd: folder,
      onStderr: (text, kill) => {
        if (sent || !text.includes('Training:')) return;
        sent = true;
        setTimeout(() => kill('SIGTERM'), 300);
      },
    });
    expect(killed.code).toBe(130);
    expect(killed.stdout).toContain('Resume with: tautgrad train denoise --out run --resume');
    const { metadata } = await readSafetensors(join(folder, 'run/last.safetensors'));
    expect(metadata['tautgrad.kind']).toBe('checkpoint');
    const before = readFileSync(join(folder, 'run/last.safetensors'));
    expect(expectFailure(await tautgrad(args, { cwd: folder }), 2)).toContain('The folder run already holds a run: add --resume');
    expect(expectFailure(await tautgrad(['train', 'denoise', '--out', 'run', '--resume', '--sigma', '50'], { cwd: folder }), 2)).toBe(
      'Expected --sigma 25, as in the run to resume, but received 50',
    );
    const damaged = Buffer.from(before);
    damaged[damaged.length - 5]! ^= 1;
    writeFileSync(join(folder, 'run/last.safetensors'), damaged);
    expect(expectFailure(await tautgrad(['train', 'denoise', '--out', 'run', '--resume'], { cwd: folder }))).toContain(
      'Cannot read run/last.safetensors: its checksum does not match',
    );
    expect(readFileSync(join(folder, 'run/last.safetensors')).equals(damaged)).toBe(true);
  });

  it('names what is wrong with its folders', async () => {
    const folder = temporaryFolder();
    const small = await folderOfImages(1, 1, 12);
    mkdirSync(join(folder, 'empty'));
    mkdirSync(join(folder, 'bad'));
    writeFileSync(join(folder, 'bad/a.png'), 'text');
    writeFileSync(join(folder, 'file'), 'text');
    const fail = async (...args: string[]) => expectFailure(await tautgrad(['train', 'denoise', ...args], { cwd: folder }));
    expect(await fail('--data', 'none')).toMatch(/^Cannot read the folder .*none: it does not exist$/);
    expect(await fail('--data', 'empty')).toMatch(/^Expected image files .* in the folder .*empty but found none$/);
    expect(await fail('--data', 'bad')).toMatch(/^Cannot read .*a\.png: it is not an image that can be understood$/);
    expect(await fail('--data', small)).toMatch(/^Expected images of at least 40x40 pixels but .*0\.png has 16x12$/);
    expect(await fail('--out', 'file/run')).toMatch(/^Cannot write file\/run: a part of the path is not a folder$/);
    expect(await fail('--out', 'file')).toBe('Cannot write file: a file of this name is in the way');
    expect(await fail('--resume', '--out', 'empty')).toBe('Cannot resume: the folder empty holds no run (there is no run.json)');
  });
});

describe('tautgrad eval denoise', { timeout: 60_000 }, () => {
  it('prints means and rows, for total variation and for a network', async () => {
    const folder = temporaryFolder();
    const data = await folderOfImages(3);
    await tautgrad(['train', 'denoise', ...tiny, '--steps', '3', '--out', 'run'], { cwd: folder });
    interface Told {
      psnr: number;
      ssim: number;
      noisyPsnr: number;
      images: { name: string; psnr: number; ssim: number }[];
    }
    for (const method of [
      ['--lambda', '0.06'],
      ['--lambda', 'auto', '--isotropic'],
      ['--model', 'run/model.safetensors'],
      ['--model', 'run/last.safetensors'],
    ]) {
      const { code, stdout } = await tautgrad(['eval', 'denoise', '--data', data, '--sigma', '25', '--json', ...method], { cwd: folder });
      expect(code).toBe(0);
      const told = JSON.parse(stdout) as Told;
      expect(told.images.map(({ name }) => name)).toEqual(['0.png', '1.png', '2.png']);
      for (const key of ['psnr', 'ssim'] as const) {
        expect(told[key]).toBeCloseTo(told.images.reduce((sum, image) => sum + image[key], 0) / 3, 10);
      }
      expect(told.noisyPsnr).toBeCloseTo(20.17, 0);
      if (method[0] === '--lambda') expect(told.psnr).toBeGreaterThan(told.noisyPsnr + 4);
    }
    const { stdout } = await tautgrad(['eval', 'denoise', '--data', data, '--lambda', '0.06'], { cwd: folder });
    expect(stdout).toMatch(/^image +noisy dB +PSNR dB +noisy SSIM +SSIM\n0\.png +\d/);
    expect(stdout).toMatch(/\nmean +20\.\d\d +2\d\.\d\d +0\.\d{4} +0\.\d{4}\n$/);
  });

  it('names a missing folder', async () => {
    const folder = temporaryFolder();
    expect(expectFailure(await tautgrad(['eval', 'denoise', '--data', 'no', '--lambda', '1'], { cwd: folder }))).toBe(
      'Cannot read the folder no: it does not exist',
    );
  });
});

describe('tautgrad quickstart', { timeout: 120_000 }, () => {
  it('trains, compares and writes a report on a folder of images', async () => {
    const folder = temporaryFolder();
    const data = await folderOfImages(6, 3, 48);
    const photo = join(folder, 'photo.jpg');
    await writeImage(photo, deadLeaves({ height: 60, width: 80, channels: 3, seed: 99 }));
    const { code, stdout } = await tautgrad(['quickstart', '--seconds', '1', '--data', data, '--image', photo, '--json'], { cwd: folder });
    expect(code).toBe(0);
    const told = JSON.parse(stdout) as Record<'noisy' | 'tv' | 'network', { psnr: number; ssim: number }> & { steps: number };
    expect(told.steps).toBeGreaterThan(0);
    expect(told.tv.psnr).toBeGreaterThan(told.noisy.psnr + 3);
    expect(told.network.psnr).toBeGreaterThan(told.noisy.psnr - 3);
    const run = join(folder, 'runs/quickstart');
    expect(readdirSync(run).sort()).toEqual(
      [
        ...['clean', 'network', 'noisy', 'tv'].map((name) => `${name}.png`),
        ...['last.safetensors', 'log.jsonl', 'model.safetensors', 'report.html', 'result.json', 'run.json'],
      ].sort(),
    );
    expect((await readImage(join(run, 'tv.png'))).width).toBe(80);
    const html = readFileSync(join(run, 'report.html'), 'utf8');
    expect(html.match(/<svg /g)).toHaveLength(5);
    expect(html.match(/<img /g)).toHaveLength(8);
    expect(html).toContain('photo.jpg');
  });

  it('needs two images', async () => {
    const data = await folderOfImages(1);
    expect(expectFailure(await tautgrad(['quickstart', '--data', data], { cwd: temporaryFolder() }))).toContain(
      'Expected at least 2 images',
    );
  });
});
