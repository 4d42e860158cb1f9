import { Tensor } from '../tensor/index.js';
import { type DeadLeavesOptions, deadLeaves } from './dead-leaves.js';
import { FileError } from './file-error.js';
import { listImages } from './folder.js';
import { type Image, toChannels } from './image.js';
import { readImage } from './image-io.js';
import { randomPatch } from './patches.js';
import { deriveSeed, Random } from './random.js';

/** Clean square patches for training. Every batch is a function of the source's seed and the step alone, so that a
 * resumed run sees the data it would have seen. */
export interface PatchSource {
  readonly channels: 1 | 3;
  readonly patchSize: number;
  /** One line for logs and reports: "400 images of train400". */
  readonly description: string;
  /** The batch of a step: `size` patches, planar NCHW, values 0 … 1. */
  batch(step: number, size: number): PatchBatch;
}

export interface PatchBatch {
  readonly clean: Float32Array;
  /** [batch, channels, height, width] */
  readonly shape: readonly [number, number, number, number];
  /** Gives the memory back for a later batch, where the source reuses it; `clean` must not be read afterwards. */
  release?(): void;
}

/** A batch on the device. */
export interface DeviceBatch {
  /** float32 [size, channels, patchSize, patchSize], values 0 to 1. The source's own: valid until `release`. */
  readonly clean: Tensor;
  /** Gives the tensor's memory to a later batch. Operations that were called before still read this batch. */
  release(): void;
}

/**
 * What training needs of a source: `PatchSource` answers at once, `PrefetchSource` when a worker thread has made the batch, `DeviceSource` when
 * it is on its way to the device.
 */
export interface BatchSource extends Pick<PatchSource, 'channels' | 'patchSize' | 'description'> {
  batch(step: number, size: number): TrainingBatch | Promise<TrainingBatch>;
}
export type TrainingBatch = PatchBatch | DeviceBatch;

/** The clean patches of a batch as a tensor of the current device. */
export function cleanTensor(batch: TrainingBatch): Tensor {
  return 'shape' in batch ? Tensor.from(batch.clean, batch.shape) : batch.clean;
}

export interface PatchSourceOptions {
  /** 1: gray (default), colour images are converted; 3: colour, gray images are repeated. */
  channels?: 1 | 3;
  /** Side of the square patches in pixels; 64 by default. */
  patchSize?: number;
  /** 0 by default. */
  seed?: number;
}

/**
 * Patches from images in memory: every epoch takes one patch of each image, in an order shuffled by the seed, at a random position, mirrored
 * and turned by quarters at random.
 */
export function memorySource(images: readonly Image[], options: PatchSourceOptions = {}, description?: string): PatchSource {
  const { channels, patchSize, seed } = withDefaults(options);
  if (images.length === 0) throw new RangeError('Expected at least one image for images but received none');
  const small = images.findIndex((i) => i.height < patchSize || i.width < patchSize);
  if (small >= 0) {
    const { height, width } = images[small]!;
    throw new RangeError(`Expected images of at least ${patchSize}x${patchSize} pixels but received ${height}x${width} (image ${small})`);
  }
  const converted = images.map((image) => toChannels(image, channels));
  const order = shuffledOrder(seed, converted.length);
  return {
    channels,
    patchSize,
    description: description ?? `${images.length} image${images.length === 1 ? '' : 's'} in memory`,
    batch: (step, size) => cutBatch(step, size, channels, patchSize, seed, (_, patch) => converted[order(patch)]!),
  };
}

/**
 * Patches from all images of a folder, which are read once and kept in memory (4 bytes per sample).
 *
 * @throws FileError for a missing or empty folder, an unreadable image, or an image smaller than the patch
 */
export async function folderSource(folder: string, options: PatchSourceOptions = {}): Promise<PatchSource> {
  const { channels, patchSize } = withDefaults(options);
  const images: Image[] = [];
  for (const path of await listImages(folder)) images.push(await readForPatches(path, channels, patchSize));
  return memorySource(images, options, `${images.length} image${images.length === 1 ? '' : 's'} of ${folder}`);
}

/** An image of a training folder in the asked channels; refuses one that is smaller than a patch. */
export async function readForPatches(path: string, channels: 1 | 3, patchSize: number): Promise<Image> {
  const image = await readImage(path);
  if (image.height < patchSize || image.width < patchSize) {
    throw new FileError(
      path,
      `Expected images of at least ${patchSize}x${patchSize} pixels but ${path} has ${image.width}x${image.height}`,
    );
  }
  return toChannels(image, channels);
}

export interface DeadLeavesSourceOptions extends PatchSourceOptions {
  /** How many different pictures to make before they repeat (in other crops and orientations); 256 by default. */
  pictures?: number;
  /** Side of the pictures in pixels; 180 by default, and at least the patch size. */
  pictureSize?: number;
  leaves?: Omit<DeadLeavesOptions, 'height' | 'width' | 'channels' | 'seed'>;
}

/** Patches from the built-in dead-leaves generator; each picture is made when it is first needed. */
export function deadLeavesSource(options: DeadLeavesSourceOptions = {}): PatchSource {
  const { channels, patchSize, seed } = withDefaults(options);
  const { pictures, side, description } = deadLeavesPlan(options);
  const made: Image[] = [];
  const picture = (index: number): Image => {
    made[index] ??= deadLeavesPicture(options.leaves ?? {}, { side, channels, seed, index });
    return made[index];
  };
  return {
    channels,
    patchSize,
    description,
    batch: (step, size) => cutBatch(step, size, channels, patchSize, seed, (random) => picture(random.int(pictures))),
  };
}

/** How many pictures of which side a dead-leaves source makes. */
export function deadLeavesPlan(options: DeadLeavesSourceOptions): { pictures: number; side: number; description: string } {
  const { patchSize, seed } = withDefaults(options);
  const { pictures = 256, pictureSize = 180 } = options;
  for (const [name, value] of Object.entries({ pictures, pictureSize })) {
    if (!Number.isInteger(value) || value < 1) throw new RangeError(`Expected a positive integer for ${name} but received ${value}`);
  }
  const side = Math.max(patchSize, pictureSize);
  return { pictures, side, description: `dead leaves (${pictures} pictures of ${side}x${side}, seed ${seed})` };
}

/** One of its pictures. */
export function deadLeavesPicture(
  leaves: NonNullable<DeadLeavesSourceOptions['leaves']>,
  { side, channels, seed, index }: { side: number; channels: 1 | 3; seed: number; index: number },
): Image {
  return deadLeaves({ ...leaves, height: side, width: side, channels, seed: deriveSeed(seed, 1, index) });
}

/** Which of `count` images the n-th patch of a run shows: every epoch visits each of them once, in an order of its own. */
export function shuffledOrder(seed: number, count: number): (patch: number) => number {
  let current = -1;
  let order: number[] = [];
  return (patch) => {
    const epoch = Math.floor(patch / count);
    if (epoch !== current) {
      const indices = Array.from({ length: count }, (_, i) => i);
      // Label 4: see `cutBatch`.
      order = new Random(deriveSeed(seed, 4, epoch)).shuffle(indices);
      current = epoch;
    }
    return order[patch % count]!;
  };
}

/**
 * The patches of a step, written to `clean`.
 * @param choose the image of the n-th patch of the run
 */
export function cutBatch(
  step: number,
  size: number,
  channels: number,
  patchSize: number,
  seed: number,
  choose: (random: Random, patch: number) => Image,
  clean?: Float32Array,
): PatchBatch {
  if (!Number.isInteger(size) || size < 1) throw new RangeError(`Expected a positive integer for size but received ${size}`);
  // Label 0 is for batches, 1 for pictures and 4 for their order: they never share random numbers.
  const random = new Random(deriveSeed(seed, 0, step));
  const length = channels * patchSize * patchSize;
  clean ??= new Float32Array(size * length);
  for (let i = 0; i < size; i++) {
    randomPatch(choose(random, step * size + i), patchSize, random, clean.subarray(i * length, (i + 1) * length));
  }
  return { clean, shape: [size, channels, patchSize, patchSize] };
}

/** Checks the options and fills in what was left out. */
export function withDefaults({ channels = 1, patchSize = 64, seed = 0 }: PatchSourceOptions): Required<PatchSourceOptions> {
  if (channels !== 1 && channels !== 3) throw new RangeError(`Expected 1 or 3 for channels but received ${channels}`);
  if (!Number.isInteger(patchSize) || patchSize < 1) {
    throw new RangeError(`Expected a positive integer for patchSize but received ${patchSize}`);
  }
  return { channels, patchSize, seed: new Random(seed).seed };
}
