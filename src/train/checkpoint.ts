import { z } from 'zod';
import { FileError } from '../data/file-error.js';
import type { OptimizerState } from '../optim/index.js';
import { outsideScopes, type Tensor, tensor } from '../tensor/index.js';
import { readSafetensors, writeSafetensors } from './safetensors.js';
import type { StoredTensor, TensorMap } from './stored-tensor.js';

/**
 * Checkpoints: a safetensors file whose tensors are named `model.<path>` and `optimizer.<slot>.<path>`, and whose
 * metadata hold the rest as JSON. A file with the model alone (`tautgrad.kind` is `model`) is for use; one with the
 * training state (`checkpoint`) is for use and for going on.
 */
export interface Checkpoint {
  readonly model: ModelRecord;
  /** Null in a file that holds a model only. */
  readonly training: TrainingRecord | null;
}

export interface ModelRecord {
  /** Which class makes the model, e.g. `tvlayers.DnCNNTV`. */
  readonly name: string;
  /** What to give its constructor. */
  readonly options: JsonObject;
  /** `module.stateDict()`. */
  readonly state: ReadonlyMap<string, Tensor>;
}

export interface TrainingRecord {
  readonly optimizer: OptimizerState;
  /** What else the training loop needs to continue bit for bit: step, settings, random state, history. */
  readonly state: JsonObject;
}

export type JsonObject = { readonly [key: string]: JsonValue };
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;

const jsonObject = z.record(z.string(), z.json());
const modelHeader = z.object({ name: z.string(), options: jsonObject });
const trainingHeader = z.object({ optimizerStep: z.int().nonnegative(), state: jsonObject });

/**
 * Writes a checkpoint in one step: a reader finds the old file or the new one, never a part.
 *
 * @throws FileError when the path cannot be written
 * @throws RangeError for a number that JSON cannot hold (NaN, Infinity) in the options or the training state
 */
export async function writeCheckpoint(path: string, { model, training }: Checkpoint): Promise<void> {
  const tensors = new Map<string, StoredTensor>();
  for (const [name, tensor] of model.state) tensors.set(`model.${name}`, storedFromTensor(tensor));
  const metadata: Record<string, string> = {
    'tautgrad.kind': training === null ? 'model' : 'checkpoint',
    'tautgrad.model': toJson({ name: model.name, options: model.options }),
  };
  if (training !== null) {
    const { optimizer, state } = training;
    for (const [name, tensor] of optimizer.tensors) tensors.set(`optimizer.${name}`, storedFromTensor(tensor));
    metadata['tautgrad.training'] = toJson({ optimizerStep: optimizer.step, state });
  }
  await writeSafetensors(path, tensors, metadata);
}

/**
 * Reads a checkpoint or a model file. The tensors belong to no scope: dispose them after loading them into a module.
 *
 * @throws FileError when the file is damaged or is not one of this package
 */
export async function readCheckpoint(path: string): Promise<Checkpoint> {
  const { tensors, metadata } = await readSafetensors(path);
  const kind = metadata['tautgrad.kind'];
  if (kind !== 'model' && kind !== 'checkpoint') {
    throw new FileError(path, `Cannot use ${path}: it holds tensors, but it is not a model or checkpoint of tautgrad`);
  }
  if (metadata['tautgrad.version'] !== '1') {
    throw new FileError(
      path,
      `Cannot use ${path}: expected format version 1 but received ${metadata['tautgrad.version']}; a newer tautgrad may read it`,
    );
  }
  const header = parse(path, 'model', modelHeader, metadata['tautgrad.model']);
  const model: ModelRecord = { ...header, state: select(path, tensors, 'model.') };
  if (kind === 'model') return { model, training: null };
  const { optimizerStep, state } = parse(path, 'training', trainingHeader, metadata['tautgrad.training']);
  const optimizer = { step: optimizerStep, tensors: select(path, tensors, 'optimizer.') };
  return { model, training: { optimizer, state } };
}

/** Frees the tensors of a checkpoint. */
export function disposeCheckpoint({ model, training }: Checkpoint): void {
  for (const tensor of model.state.values()) tensor.dispose();
  for (const tensor of training?.optimizer.tensors.values() ?? []) tensor.dispose();
}

const dtypeNames = { float32: 'F32', float64: 'F64', int32: 'I32', uint8: 'U8' } as const;

/** A tensor as files hold it, with its own memory: training may go on while the file is being written. */
export function storedFromTensor(tensor: Tensor): StoredTensor {
  return { dtype: dtypeNames[tensor.dtype], shape: tensor.shape, data: tensor.toTypedArray() };
}

/**
 * A tensor with a copy of stored numbers, outside every scope; half precision has become float32.
 * @throws RangeError for element types that tensors do not have
 */
export function tensorFromStored({ dtype, shape, data }: StoredTensor): Tensor {
  if (!(data instanceof Float32Array || data instanceof Float64Array || data instanceof Int32Array || data instanceof Uint8Array)) {
    throw new RangeError(`Expected F64, F32, F16, BF16, I32 or U8 for the type of a tensor but received ${dtype}`);
  }
  return outsideScopes(() => tensor(data, { shape }));
}

function select(path: string, tensors: TensorMap, prefix: string): Map<string, Tensor> {
  const selected = new Map<string, Tensor>();
  for (const [name, stored] of tensors) {
    if (!name.startsWith(prefix)) continue;
    try {
      selected.set(name.slice(prefix.length), tensorFromStored(stored));
    } catch (error) {
      throw new FileError(path, `Cannot use ${path}: its tensor "${name}" has the type ${stored.dtype}`, { cause: error });
    }
  }
  return selected;
}

function parse<T>(path: string, what: string, schema: z.ZodType<T>, json: string | undefined): T {
  try {
    return schema.parse(JSON.parse(json ?? ''));
  } catch (error) {
    throw new FileError(path, `Cannot use ${path}: its description of the ${what} is not understood`, {
      cause: error,
    });
  }
}

function toJson(value: JsonObject): string {
  return JSON.stringify(value, (key, v: unknown) => {
    if (typeof v === 'number' && !Number.isFinite(v)) {
      throw new RangeError(`Expected a finite number for ${key} but received ${v}`);
    }
    return v;
  });
}
