/** Training: safetensors files and checkpoints. */
export {
  type Checkpoint,
  disposeCheckpoint,
  type JsonObject,
  type JsonValue,
  type ModelRecord,
  readCheckpoint,
  type TrainingRecord,
  tensorFromStored,
  writeCheckpoint,
} from './checkpoint.js';
export { decodeSafetensors, encodeSafetensors, readSafetensors, type SafetensorsFile, writeSafetensors } from './safetensors.js';
export type { Dtype, StoredArray, StoredTensor, TensorMap } from './stored-tensor.js';
