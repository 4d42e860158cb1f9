/** Images as plain typed arrays: the form in which pictures are read, measured and written. */

/** A picture: planar (all of channel 0, then channel 1, …), rows from top to bottom, values nominally 0 … 1. */
export interface Image {
  /** `channels * height * width` samples. */
  readonly data: Float32Array;
  /** 1 (gray) or 3 (red, green, blue), as far as files are concerned; metrics accept any number. */
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

/** Wraps samples as an image after checking that their number fits the shape; allocates zeros when none are given. */
export function makeImage(channels: number, height: number, width: number, data?: Float32Array): Image {
  for (const [name, value] of [
    ['channels', channels],
    ['height', height],
    ['width', width],
  ] as const) {
    if (!Number.isInteger(value) || value < 1) {
      throw new RangeError(`Expected a positive integer for ${name} but received ${value}`);
    }
  }
  const length = channels * height * width;
  const samples = data ?? new Float32Array(length);
  if (samples.length !== length) {
    throw new RangeError(`Expected ${length} samples for a ${channels}x${height}x${width} image but received ${samples.length}`);
  }
  return { data: samples, channels, height, width };
}

/** The samples of one channel, sharing memory with the image. */
export function plane(image: Image, channel: number): Float32Array {
  const size = image.height * image.width;
  return image.data.subarray(channel * size, (channel + 1) * size);
}

/** A copy of the rectangle with the given top-left corner. */
export function crop(image: Image, top: number, left: number, height: number, width: number): Image {
  if (top < 0 || left < 0 || top + height > image.height || left + width > image.width) {
    throw new RangeError(
      `Expected a crop inside the ${image.height}x${image.width} image but received ${height}x${width} at (${top}, ${left})`,
    );
  }
  const out = makeImage(image.channels, height, width);
  for (let c = 0; c < image.channels; c++) {
    for (let y = 0; y < height; y++) {
      const from = (c * image.height + top + y) * image.width + left;
      out.data.set(image.data.subarray(from, from + width), (c * height + y) * width);
    }
  }
  return out;
}

/**
 * The image with one or three channels. Colour becomes gray by ITU-R BT.601 luma (0.299 R + 0.587 G + 0.114 B, the
 * weights of JPEG and of the gray test sets of the denoising literature); gray becomes colour by repetition.
 */
export function toChannels(image: Image, channels: 1 | 3): Image {
  if (image.channels === channels) return image;
  if (image.channels !== 1 && image.channels !== 3) {
    throw new RangeError(`Expected 1 or 3 channels for image but received ${image.channels}`);
  }
  const out = makeImage(channels, image.height, image.width);
  if (channels === 3) {
    for (let c = 0; c < 3; c++) plane(out, c).set(image.data);
    return out;
  }
  const [r, g, b] = [plane(image, 0), plane(image, 1), plane(image, 2)];
  for (let i = 0; i < out.data.length; i++) out.data[i] = 0.299 * r[i]! + 0.587 * g[i]! + 0.114 * b[i]!;
  return out;
}

/**
 * The image rounded to the levels of a `bitDepth`-bit file and clamped to 0 … 1: what a viewer of the saved file gets.
 * NaN becomes 0.
 */
export function quantise(image: Image, bitDepth: 8 | 16 = 8): Image {
  const levels = bitDepth === 8 ? 255 : 65535;
  return makeImage(
    image.channels,
    image.height,
    image.width,
    image.data.map((v) => toLevel(v, levels) / levels),
  );
}

/** The integer level nearest to a sample: clamped to 0 … `levels`, halves up, NaN to 0. */
export function toLevel(sample: number, levels: number): number {
  const scaled = sample * levels + 0.5;
  if (!(scaled > 0)) return 0;
  return scaled >= levels ? levels : Math.floor(scaled);
}
