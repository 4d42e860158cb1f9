/** Images, image files, random numbers and sources of training patches. */
export { checkWritable, writeFileAtomic } from './atomic-write.js';
export {
  type BatchSource,
  cleanTensor,
  type DeadLeavesSourceOptions,
  type DeviceBatch,
  deadLeavesSource,
  folderSource,
  memorySource,
  type PatchBatch,
  type PatchSource,
  type PatchSourceOptions,
  type TrainingBatch,
} from './dataset.js';
export { type DeadLeavesOptions, deadLeaves } from './dead-leaves.js';
export { type DeviceSource, deviceSource } from './device-source.js';
export { FileError } from './file-error.js';
export { listImages } from './folder.js';
export { crop, type Image, makeImage, plane, quantise, toChannels } from './image.js';
export {
  checkOutputFormat,
  decodePicture,
  encodePicture,
  imageExtensions,
  type Picture,
  readImage,
  readPicture,
  writeImage,
  writePicture,
} from './image-io.js';
export { addGaussianNoise } from './noise.js';
export { type NpyArray, readNpy } from './npy.js';
export { copyPatch, randomPatch } from './patches.js';
export {
  type DeadLeavesPrefetchOptions,
  type PrefetchedBatch,
  type PrefetchOptions,
  type PrefetchSource,
  prefetchDeadLeaves,
  prefetchFolder,
} from './prefetch.js';
export { deriveSeed, Random, type RandomState } from './random.js';
