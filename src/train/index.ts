/** Training: the loop, captured steps, the log, checkpoints and safetensors files. */
export { type CapturedStep, type CaptureOptions, capture } from './capture.js';
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
export { mixedPrecision } from './mixed-precision.js';
export type { EvaluationOptions, LossTerms, TrainerEvents, TrainerOptions, TrainingResult } from './options.js';
export { readRunLog, type StepRecord } from './run-log.js';
export { decodeSafetensors, encodeSafetensors, readSafetensors, type SafetensorsFile, writeSafetensors } from './safetensors.js';
export type { Dtype, StoredArray, StoredTensor, TensorMap } from './stored-tensor.js';
export { BEST_FILE, CHECKPOINT_FILE, LOG_FILE, Trainer } from './trainer.js';
export { loadWeights, saveWeights } from './weights.js';
