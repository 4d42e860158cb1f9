import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { FileError } from '../../src/data/file-error.js';
import { type Image, makeImage } from '../../src/data/image.js';
import { checkOutputFormat, type Picture, readPicture, writeImage, writePicture } from '../../src/data/image-io.js';
import { Random } from '../../src/data/random.js';
import { temporaryFolder } from '../support/folders.js';

/** A picture whose samples are exact levels of its bit depth. */
function randomPicture(channels: number, bitDepth: 8 | 16, withAlpha: boolean): Picture {
  const random = new Random(9);
  const levels = bitDepth === 8 ? 256 : 65536;
  const draw = (n: number) => Float32Array.from({ length: n }, () => random.int(levels) / (levels - 1));
  const image = makeImage(channels, 7, 11, draw(channels * 77));
  return { image, alpha: withAlpha ? draw(77) : null, bitDepth };
}

/** A TIFF file of one gray sample of 32-bit floating point. */
function floatTiff(): Buffer {
  // Tag, type (3: short, 4: long), value; the sample lies behind the directory.
  const entries = [
    [256, 3, 1], // width
    [257, 3, 1], // height
    [258, 3, 32], // bits per sample
    [259, 3, 1], // no compression
    [262, 3, 1], // black is zero
    [273, 4, 0], // offset of the strip
    [277, 3, 1], // samples per pixel
    [278, 3, 1], // rows per strip
    [279, 4, 4], // bytes of the strip
    [339, 3, 3], // IEEE floating point
  ] as const;
  const data = 8 + 2 + 12 * entries.length + 4;
  const out = Buffer.alloc(data + 4);
  out.write('II*\0', 'latin1');
  out.writeUInt32LE(8, 4);
  out.writeUInt16LE(entries.length, 8);
  entries.forEach(([tag, type, value], i) => {
    out.writeUInt16LE(tag, 10 + 12 * i);
    out.writeUInt16LE(type, 12 + 12 * i);
    out.writeUInt32LE(1, 14 + 12 * i);
    out.writeUInt32LE(tag === 273 ? data : value, 18 + 12 * i);
  });
  out.writeFloatLE(0.5, data);
  return out;
}

async function rejection(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => new Error('was not rejected'),
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(FileError);
  const { message } = error as FileError;
  expect(message).not.toContain('\n');
  return message;
}

describe('writing and reading back', () => {
  for (const [extension, depths] of [
    ['.png', [8, 16]],
    ['.tiff', [8, 16]],
  ] as const) {
    for (const bitDepth of depths) {
      for (const channels of [1, 3]) {
        for (const withAlpha of [false, true]) {
          it(`keeps ${channels} channels of ${bitDepth} bits ${withAlpha ? 'with' : 'without'} alpha exactly in ${extension}`, async () => {
            const path = join(temporaryFolder(), `a${extension}`);
            const picture = randomPicture(channels, bitDepth, withAlpha);
            await writePicture(path, picture);
            expect(await readPicture(path)).toEqual(picture);
          });
        }
      }
    }
  }

  it('keeps colour and alpha exactly in WebP', async () => {
    const path = join(temporaryFolder(), 'a.webp');
    const picture = randomPicture(3, 8, true);
    await writePicture(path, picture);
    expect(await readPicture(path)).toEqual(picture);
  });

  it('writes JPEG close to the image, gray as gray', async () => {
    const smooth = makeImage(
      1,
      32,
      32,
      Float32Array.from({ length: 1024 }, (_, i) => (i % 32) / 31),
    );
    const path = join(temporaryFolder(), 'a.jpg');
    await writeImage(path, smooth);
    const back = await readPicture(path);
    expect(back.image.channels).toBe(1);
    expect(Math.max(...back.image.data.map((v, i) => Math.abs(v - smooth.data[i]!)))).toBeLessThan(0.02);
  });

  it('clamps and rounds', async () => {
    const path = join(temporaryFolder(), 'a.png');
    await writeImage(path, makeImage(1, 1, 5, Float32Array.of(-3, 0.4999 / 255, 0.501 / 255, 2, NaN)));
    expect([...(await readPicture(path)).image.data]).toEqual(Array.from(Float32Array.of(0, 0, 1 / 255, 1, 0)));
  });

  it('puts 16-bit data into an 8-bit format with 8 bits', async () => {
    const path = join(temporaryFolder(), 'a.jpg');
    await writePicture(path, randomPicture(3, 16, false));
    expect((await readPicture(path)).bitDepth).toBe(8);
  });

  it('applies the EXIF orientation', async () => {
    const path = join(temporaryFolder(), 'turned.jpg');
    // Left half black, right half white, marked "turn by 90 degrees clockwise": the top becomes black.
    const pixels = Buffer.from(Array.from({ length: 32 * 16 }, (_, i) => (i % 32 < 16 ? 0 : 255)));
    await sharp(pixels, { raw: { width: 32, height: 16, channels: 1 } })
      .withMetadata({ orientation: 6 })
      .jpeg()
      .toFile(path);
    const { image } = await readPicture(path);
    expect([image.height, image.width]).toEqual([32, 16]);
    expect(image.data[0]).toBeLessThan(0.1);
    expect(image.data[image.data.length - 1]).toBeGreaterThan(0.9);
  });

  it('expands palettes', async () => {
    const path = join(temporaryFolder(), 'palette.png');
    const pixels = Buffer.from([255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255]);
    await sharp(pixels, { raw: { width: 2, height: 2, channels: 3 } })
      .png({ palette: true })
      .toFile(path);
    const { image } = await readPicture(path);
    expect([...image.data]).toEqual([1, 0, 0, 1, 0, 1, 0, 1, 0, 0, 1, 1]);
  });
});

describe('files that cannot be read', () => {
  it('refuses a missing file', async () => {
    const path = join(temporaryFolder(), 'none.png');
    expect(await rejection(readPicture(path))).toBe(`Cannot read ${path}: there is no such file or folder`);
  });

  it('refuses a folder', async () => {
    const path = temporaryFolder();
    expect(await rejection(readPicture(path))).toBe(`Cannot read ${path}: it is a folder`);
  });

  it('refuses a text file, an empty file and an SVG', async () => {
    const folder = temporaryFolder();
    for (const [name, content] of [
      ['a.png', 'hello\nworld'],
      ['b.png', ''],
      ['c.png', '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'],
    ] as const) {
      writeFileSync(join(folder, name), content);
      expect(await rejection(readPicture(join(folder, name)))).toContain(join(folder, name));
    }
  });

  it.each(['png', 'jpeg', 'webp', 'tiff'] as const)('refuses a truncated %s at every length tried', async (format) => {
    const random = new Random(4);
    const pixels = Buffer.from(Array.from({ length: 64 * 64 * 3 }, () => random.int(256)));
    const bytes = await sharp(pixels, { raw: { width: 64, height: 64, channels: 3 } })
      [format]()
      .toBuffer();
    const path = join(temporaryFolder(), `cut.${format}`);
    for (const fraction of [0.02, 0.2, 0.5, 0.9]) {
      writeFileSync(path, bytes.subarray(0, Math.floor(bytes.length * fraction)));
      expect(await rejection(readPicture(path))).toContain(path);
    }
  });

  it('refuses a PNG whose pixel data has a flipped byte', async () => {
    const path = join(temporaryFolder(), 'flipped.png');
    await writeImage(path, randomPicture(3, 8, false).image);
    const bytes = readFileSync(path);
    bytes[bytes.length - 40]! ^= 0x10;
    writeFileSync(path, bytes);
    expect(await rejection(readPicture(path))).toContain(path);
  });

  it('refuses floating-point TIFF, whose range is not known', async () => {
    const path = join(temporaryFolder(), 'float.tiff');
    writeFileSync(path, floatTiff());
    expect(await rejection(readPicture(path))).toContain('expected 8 or 16 bits per sample');
  });
});

describe('files that cannot be written', () => {
  const image: Image = makeImage(1, 2, 2);

  it('refuses unknown extensions', async () => {
    const path = join(temporaryFolder(), 'a.bmp');
    expect(await rejection(writeImage(path, image))).toBe(
      `Cannot write ${path}: expected one of the extensions .png, .jpg, .jpeg, .webp, .tif, .tiff but received .bmp`,
    );
    expect(existsSync(path)).toBe(false);
  });

  it('refuses to lose transparency', async () => {
    const path = join(temporaryFolder(), 'a.jpg');
    expect(await rejection(writePicture(path, randomPicture(3, 8, true)))).toContain('partly transparent');
    expect(() => checkOutputFormat(path, { alpha: Float32Array.of(1, 1) })).not.toThrow();
  });

  it('refuses a missing folder and a folder in the place of the file', async () => {
    const folder = temporaryFolder();
    expect(await rejection(writeImage(join(folder, 'no', 'a.png'), image))).toContain('does not exist');
    mkdirSync(join(folder, 'b.png'));
    expect(await rejection(writeImage(join(folder, 'b.png'), image))).toContain('it is a folder');
  });

  it('leaves a read-only file and a read-only folder alone', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'a.png');
    writeFileSync(path, 'precious');
    chmodSync(path, 0o444);
    expect(await rejection(writeImage(path, image))).toBe(`Cannot write ${path}: the file is read-only`);
    expect(readFileSync(path, 'utf8')).toBe('precious');
    chmodSync(folder, 0o555);
    expect(await rejection(writeImage(join(folder, 'b.png'), image))).toContain('the folder is read-only');
    chmodSync(folder, 0o755);
    expect(readdirSync(folder)).toEqual(['a.png']);
  });

  it('replaces through a symbolic link and keeps the permissions', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'real.png'), 'old');
    chmodSync(join(folder, 'real.png'), 0o640);
    symlinkSync('real.png', join(folder, 'link.png'));
    await writeImage(join(folder, 'link.png'), image);
    expect(lstatSync(join(folder, 'link.png')).isSymbolicLink()).toBe(true);
    expect(lstatSync(join(folder, 'real.png')).mode & 0o777).toBe(0o640);
    expect((await readPicture(join(folder, 'real.png'))).image.width).toBe(2);
    expect(readdirSync(folder).sort()).toEqual(['link.png', 'real.png']);
  });
});
