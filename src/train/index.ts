export { type Checkpoint, type JsonObject, type JsonValue, disposeCheckpoint, readCheckpoint, writeCheckpoint } from './checkpoint.js';
export { type StepRecord, readRunLog } from './run-log.js';
export { type SafetensorsFile, readSafetensors, writeSafetensors } from './safetensors.js';
export { CHECKPOINT_FILE, LOG_FILE, Trainer, type TrainerEvents, type TrainerOptions, type TrainingResult } from './trainer.js';
