/** Denoising networks from files. */
import { z } from 'zod';
import { FileError } from '../../data/index.js';
import type { Module } from '../../nn/index.js';
import { disposeCheckpoint, type JsonObject, readCheckpoint, readSafetensors } from '../../train/index.js';
import { DnCNN, DnCNNTV } from './dncnn-tv.js';
import { importKairDnCNN, isKairDnCNN } from './kair.js';

/** A network with its number of image channels. */
export interface Denoiser {
  model: Module;
  channels: 1 | 3;
  description: { name: string; options: JsonObject };
}

const base = { channels: z.union([z.literal(1), z.literal(3)]), features: z.int().min(1).max(4096), depth: z.int().min(2).max(1000) };
const tv = { lambdaIn: z.number().positive(), lambdaOut: z.number().positive(), iterations: z.int().min(1).optional() };
const schemas = { 'tvlayers.DnCNN': z.object(base), 'tvlayers.DnCNNTV': z.object({ ...base, ...tv }) };

/** The record of a model for its checkpoints: class name and constructor options. */
export function describeDenoiser(model: DnCNN | DnCNNTV): { name: string; options: JsonObject } {
  const name = model instanceof DnCNNTV ? 'tvlayers.DnCNNTV' : 'tvlayers.DnCNN';
  // JSON has no undefined: an option that was not given is absent.
  return { name, options: JSON.parse(JSON.stringify(model.options)) as JsonObject };
}

/**
 * The denoiser of a model file or checkpoint, or of a DnCNN published by KAIR (safetensors with names like `model.0.weight`).
 * @throws FileError when the file is damaged or holds something else
 */
export async function loadDenoiser(path: string): Promise<Denoiser> {
  const file = await readSafetensors(path);
  if (isKairDnCNN(file)) {
    const model = importKairDnCNN(path, file);
    return { model, channels: model.options.channels as 1 | 3, description: describeDenoiser(model) };
  }
  const checkpoint = await readCheckpoint(path);
  try {
    const { name, options, state } = checkpoint.model;
    const schema = Object.hasOwn(schemas, name) ? schemas[name as keyof typeof schemas] : undefined;
    if (schema === undefined) throw new FileError(path, `Cannot use ${path}: expected a denoiser but received the model ${name}`);
    const parsed = schema.safeParse(options);
    if (!parsed.success) {
      throw new FileError(
        path,
        `Cannot use ${path}: its options of ${name} are not understood (${parsed.error.issues[0]?.path.join('.')})`,
      );
    }
    const given = parsed.data;
    const model = 'lambdaIn' in given ? new DnCNNTV(given as ConstructorParameters<typeof DnCNNTV>[0]) : new DnCNN(given);
    try {
      model.loadStateDict(state);
    } catch (error) {
      model.dispose();
      throw new FileError(path, `Cannot use ${path}: its tensors do not fit the model (${(error as Error).message})`, { cause: error });
    }
    return { model, channels: given.channels, description: { name, options } };
  } finally {
    disposeCheckpoint(checkpoint);
  }
}
