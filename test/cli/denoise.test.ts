import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { addGaussianNoise, deadLeaves, type Picture, quantise, readPicture, writePicture } from '../../src/data/index.js';
import { psnr } from '../../src/metrics/index.js';
import { DnCNNTV, describeDenoiser } from '../../src/models/tvlayers/index.js';
import { writeCheckpoint } from '../../src/train/index.js';
import { expectFailure, tautgrad } from '../support/command.js';
import { temporaryFolder } from '../support/folders.js';

const clean = (channels: 1 | 3) => deadLeaves({ height: 48, width: 56, channels, seed: 5, minRadius: 4 });

/** A noisy picture on disk. */
async function noisyPicture(path: string, channels: 1 | 3, more: Partial<Picture> = {}): Promise<void> {
  await writePicture(path, { image: addGaussianNoise(clean(channels), 25 / 255, 1), alpha: null, bitDepth: 8, ...more });
}

async function tinyModel(path: string, channels: 1 | 3): Promise<void> {
  const model = new DnCNNTV({ channels, depth: 2, features: 3 });
  await writeCheckpoint(path, { model: { ...describeDenoiser(model), state: model.stateDict() }, training: null });
  model.dispose();
}

describe('tautgrad denoise', () => {
  it.each([
    ['auto', []],
    ['isotropic', ['--isotropic']],
    ['fixed', ['--lambda', '0.07']],
  ])('gains at least 4 dB on a noisy picture (%s)', async (_, more) => {
    const folder = temporaryFolder();
    await noisyPicture(join(folder, 'in.png'), 3);
    const { code, stdout, stderr } = await tautgrad(['denoise', 'in.png', 'out.png', '--json', ...more], { cwd: folder });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const told = JSON.parse(stdout) as { lambda: number; sigma: number | null; width: number; height: number };
    expect(told).toMatchObject({ width: 56, height: 48, channels: 3, bitDepth: 8, alpha: false, method: 'total variation' });
    if (more[0] === '--lambda') expect(told).toMatchObject({ lambda: 0.07, sigma: null });
    else expect(told.sigma! * 255).toBeGreaterThan(20);
    const gain =
      psnr((await readPicture(join(folder, 'out.png'))).image, clean(3)) -
      psnr((await readPicture(join(folder, 'in.png'))).image, clean(3));
    expect(gain).toBeGreaterThan(4);
  });

  it('keeps gray, 16 bits and alpha', async () => {
    const folder = temporaryFolder();
    const alpha = Float32Array.from({ length: 48 * 56 }, (_, i) => (i % 65536) / 65535);
    await noisyPicture(join(folder, 'in.tiff'), 1, { alpha, bitDepth: 16 });
    const { code, stdout } = await tautgrad(['denoise', 'in.tiff', 'out.png'], { cwd: folder });
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^out\.png: 56x48 gray, 16 bits, anisotropic total variation with lambda 0\.\d+ for noise of \d+(\.\d)? of 255, /,
    );
    const out = await readPicture(join(folder, 'out.png'));
    expect(out).toMatchObject({ bitDepth: 16, alpha });
    expect(out.image.channels).toBe(1);
    // More than 256 levels: nothing went through 8 bits on the way.
    expect(new Set(out.image.data).size).toBeGreaterThan(300);
  });

  it('copies the picture with lambda 0', async () => {
    const folder = temporaryFolder();
    await noisyPicture(join(folder, 'in.png'), 3);
    await tautgrad(['denoise', 'in.png', 'out.png', '--lambda', '0'], { cwd: folder });
    expect(await readPicture(join(folder, 'out.png'))).toEqual(await readPicture(join(folder, 'in.png')));
  });

  it.each([
    [1, 3],
    [3, 1],
    [3, 3],
  ] as const)('applies a network of %i channels to a picture of %i', async (network, channels) => {
    const folder = temporaryFolder();
    await noisyPicture(join(folder, 'in.png'), channels);
    await tinyModel(join(folder, 'model.safetensors'), network);
    const { code, stdout } = await tautgrad(['denoise', 'in.png', 'out.png', '--model', 'model.safetensors', '--json'], { cwd: folder });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ method: 'network', model: 'model.safetensors', channels });
    const out = (await readPicture(join(folder, 'out.png'))).image;
    expect(out.channels).toBe(channels);
    // A network near its start is nearly the identity with a little smoothing.
    expect(psnr(out, quantise(addGaussianNoise(clean(channels), 25 / 255, 1)))).toBeGreaterThan(15);
  });
});

describe('bad input of tautgrad denoise', () => {
  /** A folder with a good picture and model, and an output that must survive. */
  async function scene(): Promise<string> {
    const folder = temporaryFolder();
    await noisyPicture(join(folder, 'in.png'), 1);
    await tinyModel(join(folder, 'model.safetensors'), 1);
    writeFileSync(join(folder, 'out.png'), 'precious');
    return folder;
  }

  async function failure(folder: string, ...args: string[]): Promise<string> {
    const sentence = expectFailure(await tautgrad(['denoise', ...args], { cwd: folder }));
    expect(readFileSync(join(folder, 'out.png'), 'utf8')).toBe('precious');
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    return sentence;
  }

  it('a missing picture, a text file, a folder', async () => {
    const folder = await scene();
    writeFileSync(join(folder, 'text.png'), 'no picture');
    mkdirSync(join(folder, 'folder.png'));
    expect(await failure(folder, 'none.png', 'out.png')).toBe('Cannot read none.png: there is no such file or folder');
    expect(await failure(folder, 'text.png', 'out.png')).toBe('Cannot read text.png: it is not an image that can be understood');
    expect(await failure(folder, 'folder.png', 'out.png')).toBe('Cannot read folder.png: it is a folder');
  });

  it('a truncated PNG', async () => {
    const folder = await scene();
    const bytes = readFileSync(join(folder, 'in.png'));
    writeFileSync(join(folder, 'cut.png'), bytes.subarray(0, bytes.length / 2));
    expect(await failure(folder, 'cut.png', 'out.png')).toContain('Cannot read cut.png: the image data is damaged or incomplete');
  });

  it('outputs that cannot be written', async () => {
    const folder = await scene();
    expect(await failure(folder, 'in.png', 'out.gif')).toContain('received .gif');
    expect(await failure(folder, 'in.png', 'no/out.png')).toBe('Cannot write no/out.png: the folder no does not exist');
    chmodSync(join(folder, 'out.png'), 0o444);
    expect(await failure(folder, 'in.png', 'out.png')).toBe('Cannot write out.png: the file is read-only');
    mkdirSync(join(folder, 'locked'));
    chmodSync(join(folder, 'locked'), 0o555);
    expect(await failure(folder, 'in.png', 'locked/out.png')).toBe('Cannot write locked/out.png: the folder is read-only');
    expect(existsSync(join(folder, 'out.gif'))).toBe(false);
  });

  it('a transparent picture into JPEG', async () => {
    const folder = await scene();
    await noisyPicture(join(folder, 'alpha.png'), 1, { alpha: new Float32Array(48 * 56).fill(0.5) });
    expect(await failure(folder, 'alpha.png', 'new.jpg')).toContain('partly transparent');
  });

  it('model files with a flipped byte, an oversized header, cut short, of text, or of another kind', async () => {
    const folder = await scene();
    const good = readFileSync(join(folder, 'model.safetensors'));
    const variant = (name: string, change: (bytes: Buffer) => Buffer): void => writeFileSync(join(folder, name), change(Buffer.from(good)));
    variant('flipped', (b) => {
      b[b.length - 9]! ^= 4;
      return b;
    });
    variant('header', (b) => {
      b.writeBigUInt64LE(2n ** 40n);
      return b;
    });
    variant('cut', (b) => b.subarray(0, b.length - 100));
    writeFileSync(join(folder, 'text'), 'these are no tensors');
    expect(await failure(folder, 'in.png', 'out.png', '--model', 'flipped')).toContain('Cannot read flipped: its checksum does not match');
    expect(await failure(folder, 'in.png', 'out.png', '--model', 'header')).toContain('header length is damaged');
    expect(await failure(folder, 'in.png', 'out.png', '--model', 'cut')).toContain('Cannot read cut:');
    expect(await failure(folder, 'in.png', 'out.png', '--model', 'text')).toContain('not a safetensors file');
    expect(await failure(folder, 'in.png', 'out.png', '--model', 'in.png')).toContain('Cannot read in.png:');
    expect(await failure(folder, 'in.png', 'out.png', '--model', 'none')).toBe('Cannot read none: there is no such file or folder');
  });
});
