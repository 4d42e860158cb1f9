import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { deadLeavesSource, folderSource, memorySource } from '../../src/data/dataset.js';
import { listImages } from '../../src/data/folder.js';
import { makeImage } from '../../src/data/image.js';
import { writeImage } from '../../src/data/image-io.js';
import { addGaussianNoise } from '../../src/data/noise.js';
import { copyPatch } from '../../src/data/patches.js';
import { temporaryFolder } from '../support/folders.js';

const ramp = (height: number, width: number, channels = 1) =>
  makeImage(
    channels,
    height,
    width,
    Float32Array.from({ length: channels * height * width }, (_, i) => i / 1000),
  );

describe('copyPatch', () => {
  it('gives the eight symmetries of the square', () => {
    const image = makeImage(1, 2, 2, Float32Array.of(1, 2, 3, 4));
    const patches = Array.from({ length: 8 }, (_, symmetry) => {
      const out = new Float32Array(4);
      copyPatch(image, 0, 0, 2, symmetry, out);
      return [...out].join('');
    });
    expect(patches.slice(0, 5)).toEqual(['1234', '2143', '3412', '4321', '1324']);
    expect(new Set(patches).size).toBe(8);
  });

  it('takes every channel from the same place', () => {
    const image = ramp(4, 5, 2);
    const out = new Float32Array(8);
    copyPatch(image, 1, 2, 2, 0, out);
    expect([...out].map((v) => Math.round(v * 1000))).toEqual([7, 8, 12, 13, 27, 28, 32, 33]);
  });
});

describe('patch sources', () => {
  it('make batches that depend on seed and step alone', () => {
    for (const make of [
      (seed: number) => memorySource([ramp(9, 12), ramp(20, 8)], { patchSize: 6, seed }),
      (seed: number) => deadLeavesSource({ patchSize: 6, pictures: 5, pictureSize: 16, seed }),
    ]) {
      const a = make(3);
      const b = make(3);
      const wanted = b.batch(7, 4);
      for (let step = 0; step < 7; step++) a.batch(step, 2);
      expect(a.batch(7, 4)).toEqual(wanted);
      expect(wanted.shape).toEqual([4, 1, 6, 6]);
      expect(a.batch(8, 4).clean).not.toEqual(wanted.clean);
      expect(make(4).batch(7, 4).clean).not.toEqual(wanted.clean);
    }
  });

  it('reach every position and orientation', () => {
    const source = memorySource([ramp(3, 4)], { patchSize: 2 });
    const seen = new Set<string>();
    for (let step = 0; step < 40; step++) {
      const { clean } = source.batch(step, 32);
      for (let i = 0; i < 32; i++) seen.add(clean.subarray(4 * i, 4 * i + 4).join());
    }
    expect(seen.size).toBe(2 * 3 * 8);
  });

  it('show every image once in an epoch, in orders that the seed shuffles', () => {
    const images = Array.from({ length: 7 }, (_, i) => makeImage(1, 2, 2, new Float32Array(4).fill(i)));
    const epochs = (seed: number): number[][] => {
      const source = memorySource(images, { patchSize: 2, seed });
      const shown = Array.from({ length: 14 }, (_, step) => source.batch(step, 2).clean).flatMap((c) => [c[0]!, c[4]!]);
      return [0, 1, 2, 3].map((e) => shown.slice(7 * e, 7 * e + 7));
    };
    for (const epoch of epochs(1)) expect(epoch.toSorted()).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(new Set([...epochs(1), ...epochs(2)].map(String)).size).toBe(8);
  });

  it('read folders in order, converted to the asked channels', async () => {
    const folder = temporaryFolder();
    await writeImage(join(folder, 'b.png'), makeImage(3, 8, 8));
    await writeImage(join(folder, 'a.PNG'.toLowerCase()), makeImage(1, 8, 9));
    writeFileSync(join(folder, 'notes.txt'), 'not an image');
    writeFileSync(join(folder, '.hidden.png'), 'not an image');
    mkdirSync(join(folder, 'c.png'));
    expect(await listImages(folder)).toEqual([join(folder, 'a.png'), join(folder, 'b.png')]);
    const source = await folderSource(folder, { channels: 3, patchSize: 8 });
    expect(source.batch(0, 2).shape).toEqual([2, 3, 8, 8]);
    expect(source.description).toBe(`2 images of ${folder}`);
  });

  it('name what is wrong with a folder', async () => {
    const folder = temporaryFolder();
    await expect(listImages(join(folder, 'no'))).rejects.toThrow(`Cannot read the folder ${join(folder, 'no')}: it does not exist`);
    await expect(listImages(folder)).rejects.toThrow(`in the folder ${folder} but found none`);
    const path = join(folder, 'small.png');
    await writeImage(path, makeImage(1, 8, 40));
    await expect(listImages(path)).rejects.toThrow('it is not a folder');
    await expect(folderSource(folder, { patchSize: 16 })).rejects.toThrow(`Expected images of at least 16x16 pixels but ${path} has 40x8`);
  });

  it('refuse options outside their range', () => {
    expect(() => memorySource([])).toThrow('Expected at least one image');
    expect(() => memorySource([ramp(4, 4)], { patchSize: 5 })).toThrow('Expected images of at least 5x5');
    expect(() => deadLeavesSource({ patchSize: 0 })).toThrow('Expected a positive integer for patchSize but received 0');
    expect(() => deadLeavesSource({ patchSize: 8 }).batch(0, 0)).toThrow('for size');
  });
});

describe('addGaussianNoise', () => {
  it('adds noise of the asked deviation and leaves the image alone', () => {
    const clean = makeImage(1, 200, 200);
    const noisy = addGaussianNoise(clean, 0.1, 3);
    const variance = noisy.data.reduce((s, v) => s + v * v, 0) / noisy.data.length;
    expect(Math.abs(variance / 0.01 - 1)).toBeLessThan(5 * Math.sqrt(2 / 40_000));
    expect(clean.data.every((v) => v === 0)).toBe(true);
    expect(addGaussianNoise(clean, 0.1, 3).data).toEqual(noisy.data);
    expect(() => addGaussianNoise(clean, -1, 3)).toThrow(RangeError);
  });
});
