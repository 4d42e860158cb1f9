import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import sharp, { type Metadata, type OutputInfo } from 'sharp';
import { writeFileAtomic } from './atomic-write.js';
import { FileError, firstLine } from './file-error.js';
import { type Image, makeImage, toLevel } from './image.js';

/** A picture together with what its file says about it, so that a processed copy can be written the same way. */
export interface Picture {
  /** 1 channel when the file is gray, else 3 (sRGB; an embedded colour profile is applied). Values 0 … 1. */
  readonly image: Image;
  /** Opacity 0 … 1, `height * width` samples, or null for a file without an alpha channel. Never premultiplied. */
  readonly alpha: Float32Array | null;
  /** Bits per sample of the file. */
  readonly bitDepth: 8 | 16;
}

/** File name extensions that can be read and written, with what each format can hold. */
const formats: Record<string, { format: 'png' | 'jpeg' | 'webp' | 'tiff'; bitDepths: readonly number[]; alpha: boolean }> = {
  '.png': { format: 'png', bitDepths: [8, 16], alpha: true },
  '.jpg': { format: 'jpeg', bitDepths: [8], alpha: false },
  '.jpeg': { format: 'jpeg', bitDepths: [8], alpha: false },
  '.webp': { format: 'webp', bitDepths: [8], alpha: true },
  '.tif': { format: 'tiff', bitDepths: [8, 16], alpha: true },
  '.tiff': { format: 'tiff', bitDepths: [8, 16], alpha: true },
};

/** The extensions of image files, lower case, with the dot. */
export const imageExtensions: readonly string[] = Object.keys(formats);

/**
 * Reads a PNG, JPEG, WebP or TIFF file of 8 or 16 bits, gray or colour, with or without alpha; EXIF orientation is
 * applied. The content decides about the format, not the name.
 *
 * @throws FileError for a missing, damaged, truncated or foreign file
 */
export async function readPicture(path: string): Promise<Picture> {
  const bytes = await readFile(path).catch((error: unknown) => {
    throw FileError.fromSystem(path, 'read', error);
  });
  return decodePicture(bytes, path);
}

/** `readPicture` for bytes in memory; `path` appears in error messages. */
export async function decodePicture(bytes: Uint8Array, path = 'the image'): Promise<Picture> {
  let metadata: Metadata;
  try {
    metadata = await sharp(bytes).metadata();
  } catch (error) {
    throw new FileError(path, `Cannot read ${path}: it is not an image that can be understood`, { cause: error });
  }
  if (!['png', 'jpeg', 'webp', 'tiff'].includes(metadata.format ?? '')) {
    throw new FileError(path, `Cannot read ${path}: expected a PNG, JPEG, WebP or TIFF image but received ${metadata.format}`);
  }
  if (metadata.depth !== 'uchar' && metadata.depth !== 'ushort') {
    throw new FileError(path, `Cannot read ${path}: expected 8 or 16 bits per sample but received type ${metadata.depth}`);
  }
  const bitDepth = metadata.depth === 'ushort' ? 16 : 8;
  const gray = metadata.space === 'b-w' || metadata.space === 'grey16';
  const hasAlpha = metadata.hasAlpha === true;
  // An 8-bit gray image with alpha goes through sRGB (equal channels), because sharp's conversion to gray drops alpha.
  const space = bitDepth === 16 ? (gray ? 'grey16' : 'rgb16') : gray && !hasAlpha ? 'b-w' : 'srgb';
  try {
    // failOn 'error' refuses truncated and corrupt pixel data but lets a camera's odd metadata pass.
    const { data, info } = await sharp(bytes, { failOn: 'error' })
      .autoOrient()
      .toColourspace(space)
      .raw({ depth: bitDepth === 16 ? 'ushort' : 'uchar' })
      .toBuffer({ resolveWithObject: true });
    return unpack(data, info, { bitDepth, gray, hasAlpha });
  } catch (error) {
    const reason = error instanceof Error ? firstLine(error.message) : String(error);
    throw new FileError(path, `Cannot read ${path}: the image data is damaged or incomplete (${reason})`, { cause: error });
  }
}

function unpack(
  bytes: Buffer,
  info: OutputInfo,
  { bitDepth, gray, hasAlpha }: { bitDepth: 8 | 16; gray: boolean; hasAlpha: boolean },
): Picture {
  const samples = bitDepth === 8 ? bytes : new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
  const levels = bitDepth === 8 ? 255 : 65535;
  const { width, height, channels: stride } = info;
  const size = width * height;
  const take = (channel: number, into: Float32Array): void => {
    for (let i = 0, at = channel; i < size; i++, at += stride) into[i] = samples[at]! / levels;
  };
  const image = makeImage(gray ? 1 : 3, height, width);
  for (let c = 0; c < image.channels; c++) take(c, image.data.subarray(c * size, (c + 1) * size));
  if (!hasAlpha) return { image, alpha: null, bitDepth };
  const alpha = new Float32Array(size);
  take(stride - 1, alpha);
  return { image, alpha, bitDepth };
}

/** Reads a file and drops alpha and file properties. */
export async function readImage(path: string): Promise<Image> {
  return (await readPicture(path)).image;
}

/**
 * Checks that a picture can be written under this name without loss of transparency; call it before long work.
 * @throws FileError for an unknown extension, or when the picture is partly transparent and the format has no alpha
 */
export function checkOutputFormat(path: string, picture?: Pick<Picture, 'alpha'>): void {
  const format = formatOf(path);
  if (!format.alpha && picture?.alpha?.some((a) => a < 1)) {
    throw new FileError(
      path,
      `Cannot write ${path}: the image is partly transparent and ${format.format.toUpperCase()} cannot hold that; choose .png, .webp or .tiff`,
    );
  }
}

function formatOf(path: string): (typeof formats)[string] {
  const extension = extname(path).toLowerCase();
  const format = formats[extension];
  if (format === undefined) {
    throw new FileError(
      path,
      `Cannot write ${path}: expected one of the extensions ${imageExtensions.join(', ')} but received ${extension === '' ? 'none' : extension}`,
    );
  }
  return format;
}

/**
 * Writes a picture in the format of the extension: values are clamped to 0 … 1 and rounded to the nearest level. Gray
 * stays gray, alpha is kept, 16-bit data stays 16-bit where the format can (PNG, TIFF); PNG, TIFF and WebP are
 * lossless, JPEG has quality 95 without chroma subsampling. Replaces an existing file in one step.
 *
 * @throws FileError when the format or the path cannot take it; an existing file is then untouched
 */
export async function writePicture(path: string, picture: Picture): Promise<void> {
  checkOutputFormat(path, picture);
  const { format, bitDepths } = formatOf(path);
  const bytes = await encodePicture(bitDepths.includes(picture.bitDepth) ? picture : { ...picture, bitDepth: 8 }, format);
  await writeFileAtomic(path, bytes);
}

/** Writes an image as an 8-bit (or 16-bit) file without alpha; see `writePicture`. */
export async function writeImage(path: string, image: Image, bitDepth: 8 | 16 = 8): Promise<void> {
  await writePicture(path, { image, alpha: null, bitDepth });
}

/** The bytes of an image file. */
export async function encodePicture(picture: Picture, format: 'png' | 'jpeg' | 'webp' | 'tiff' = 'png'): Promise<Buffer> {
  const { image, bitDepth } = picture;
  const { width, height, channels: colours } = image;
  if (colours !== 1 && colours !== 3) throw new RangeError(`Expected 1 or 3 channels for image but received ${colours}`);
  // JPEG has no alpha; `checkOutputFormat` has made sure that nothing visible is lost.
  const alpha = format === 'jpeg' ? null : picture.alpha;
  const channels = colours + (alpha === null ? 0 : 1);
  const levels = bitDepth === 8 ? 255 : 65535;
  const size = width * height;
  const samples = bitDepth === 8 ? new Uint8Array(size * channels) : new Uint16Array(size * channels);
  for (let c = 0; c < channels; c++) {
    const from = c < colours ? image.data.subarray(c * size, (c + 1) * size) : alpha!;
    for (let i = 0, at = c; i < size; i++, at += channels) samples[at] = toLevel(from[i]!, levels);
  }
  const raw = sharp(samples, { raw: { width, height, channels: channels as 1 | 2 | 3 | 4 } });
  const pipeline = raw.toColourspace(colours === 1 ? (bitDepth === 8 ? 'b-w' : 'grey16') : bitDepth === 8 ? 'srgb' : 'rgb16');
  switch (format) {
    case 'png':
      return pipeline.png({ compressionLevel: 6 }).toBuffer();
    case 'jpeg':
      return pipeline.jpeg({ quality: 95, chromaSubsampling: '4:4:4' }).toBuffer();
    case 'webp':
      return pipeline.webp({ lossless: true, exact: true }).toBuffer();
    case 'tiff':
      return pipeline.tiff({ compression: 'deflate', predictor: 'horizontal' }).toBuffer();
  }
}
