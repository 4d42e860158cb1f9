/** `tautgrad reconstruct`: results, files, and how it refuses. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { deadLeaves, makeImage, readImage, readNpy, writeImage } from '../../src/data/index.js';
import { psnr } from '../../src/metrics/index.js';
import { expectFailure, tautgrad } from '../support/command.js';
import { sharedFolder, temporaryFolder } from '../support/folders.js';

interface Told {
  problem: string;
  methods: { name: string; psnr: number; ssim: number; lambda: number | null }[];
  report: string;
}

const reconstruct = async (folder: string, ...args: string[]): Promise<Told> => {
  const { code, stdout, stderr } = await tautgrad(['reconstruct', ...args, '--json'], { cwd: folder });
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout) as Told;
};

/** A .npy file of version 1. */
function npy(type: string, shape: number[], fortran: boolean, data: Uint8Array): Buffer {
  const text = `{'descr': '${type}', 'fortran_order': ${fortran ? 'True' : 'False'}, 'shape': (${shape.join(', ')}${shape.length === 1 ? ',' : ''}), }`;
  const header = `${text.padEnd(Math.ceil((text.length + 11) / 64) * 64 - 11)}\n`;
  const length = Buffer.from([header.length & 255, header.length >> 8]);
  return Buffer.concat([Buffer.from('\x93NUMPY\x01\x00', 'latin1'), length, Buffer.from(header, 'latin1'), data]);
}

describe('tautgrad reconstruct', () => {
  it('ct: total variation beats filtered back-projection, and the files say so', async () => {
    const folder = temporaryFolder();
    const told = await reconstruct(folder, 'ct', '--size', '64', '--angles', '20', '--noise', '0.2', '--lambda', '0.5', '--out', 'out');
    const [fbp, tv] = told.methods;
    expect(told.methods.map((m) => m.name)).toEqual(['fbp', 'tv']);
    expect(tv!.psnr).toBeGreaterThan(fbp!.psnr + 5);
    expect(tv!.lambda).toBe(0.5);
    const [truth, written] = [await readImage(join(folder, 'out/truth.png')), await readImage(join(folder, 'out/tv.png'))];
    // Files are clipped and rounded: never much worse.
    expect(psnr(written, truth)).toBeGreaterThan(tv!.psnr - 0.2);
    const html = readFileSync(join(folder, 'out/report.html'), 'utf8');
    for (const words of ['Computed tomography', '20 parallel-beam views', 'filtered back-projection', 'total variation']) {
      expect(html).toContain(words);
    }
  });

  it('mri: takes a mask from a picture or a .npy file in column order', async () => {
    const folder = temporaryFolder();
    const [h, w] = [40, 48];
    await writeImage(join(folder, 'in.png'), deadLeaves({ height: h, width: w, channels: 3, seed: 5, minRadius: 4 }));
    // Every column within 8 of the middle.
    const sampled = (column: number): number => (Math.abs(column - w / 2) < 8 ? 1 : 0);
    await writeImage(
      join(folder, 'mask.png'),
      makeImage(
        1,
        h,
        w,
        Float32Array.from({ length: h * w }, (_, i) => sampled(i % w)),
      ),
    );
    writeFileSync(
      join(folder, 'mask.npy'),
      npy(
        '|u1',
        [h, w],
        true,
        Uint8Array.from({ length: h * w }, (_, i) => sampled(Math.floor(i / h))),
      ),
    );
    const run = (mask: string): Promise<Told> =>
      reconstruct(folder, 'mri', '--image', 'in.png', '--mask', mask, '--method', 'zero-filling', '--noise', '0', '--coils', '3');
    const [a, b] = [await run('mask.png'), await run('mask.npy')];
    expect(a.methods).toHaveLength(1);
    expect(a.methods[0]!.psnr).toBeGreaterThan(15);
    expect(b.methods[0]!.psnr).toBe(a.methods[0]!.psnr);
    expect(existsSync(join(folder, 'runs/mri/zero-filling.png'))).toBe(true);
  });

  it('sr: keeps colour, cuts to a multiple of the scale, and total variation is not below bicubic', async () => {
    const folder = temporaryFolder();
    await writeImage(join(folder, 'in.png'), deadLeaves({ height: 50, width: 64, channels: 3, seed: 2, minRadius: 4 }));
    const told = await reconstruct(folder, 'sr', '--image', 'in.png', '--scale', '3');
    const [bicubic, tv] = told.methods;
    expect(tv!.psnr).toBeGreaterThan(bicubic!.psnr);
    expect(await readImage(join(folder, 'runs/sr/tv.png'))).toMatchObject({ channels: 3, height: 48, width: 63 });
  });

  it('refuses wrong input in a sentence', async () => {
    const folder = temporaryFolder();
    await writeImage(join(folder, 'small.png'), makeImage(1, 8, 9));
    writeFileSync(join(folder, 'line.npy'), npy('<f4', [4], false, new Uint8Array(16)));
    writeFileSync(join(folder, 'complex.npy'), npy('<c8', [4, 4], false, new Uint8Array(128)));
    writeFileSync(join(folder, 'short.npy'), npy('<f8', [4, 4], false, new Uint8Array(100)));
    const fails = async (words: string, ...args: string[]): Promise<void> => {
      expect(expectFailureWithNotes(await tautgrad(['reconstruct', ...args], { cwd: folder }))).toContain(words);
    };
    await fails("Expected a mask of the image's size [64, 64] but received [8, 9]", 'mri', '--size', '64', '--mask', 'small.png');
    await fails('expected an array of height x width but received 4', 'ct', '--image', 'line.npy');
    await fails('but received <c8', 'ct', '--image', 'complex.npy');
    await fails('expected 128 bytes of data but found 100', 'ct', '--image', 'short.npy');
    writeFileSync(join(folder, 'x.npy'), 'not numbers at all');
    await fails('it is not a .npy file', 'mri', '--mask', 'x.npy');
    await fails('there is no such file', 'sr', '--image', 'missing.png');
    expect(expectFailure(await tautgrad(['reconstruct', 'pet']), 2)).toContain("unknown command 'pet'");
    expect(expectFailure(await tautgrad(['reconstruct', 'ct', '--method', 'magic']), 2)).toContain('Allowed choices are fbp, tv');
    expect(expectFailure(await tautgrad(['reconstruct', 'ct', '--angles', '0']), 2)).toContain('Expected a whole number greater than 0');
  });
});

const expectFailureWithNotes = ({ code, stderr }: { code: number | null; stderr: string }): string => {
  expect(code).toBe(1);
  return stderr.trim().split('\n').at(-1) as string;
};

describe('shared MRI data', () => {
  const folder = sharedFolder('data', 'mri');
  it.skipIf(folder === null)('reads the brain image and its mask in image order', async () => {
    const brain = await readNpy(join(folder as string, 'Brain_data1.npy'));
    expect(brain.shape).toEqual([256, 256]);
    const mask = await readNpy(join(folder as string, 'mask_20.npy'));
    expect(mask.data[128 * 256 + 128]).toBe(1);
    expect(mask.data.reduce((a, b) => a + b, 0) / mask.data.length).toBeCloseTo(0.2019, 3);
  });
  if (folder === null) console.info('skipped: no MRI data beside the repository');
});
