/** The weights of a module as a file of their own. */
import { FileError } from '../data/file-error.js';
import type { Module } from '../nn/index.js';
import type { Tensor } from '../tensor/index.js';
import { storedFromTensor, tensorFromStored } from './checkpoint.js';
import { readSafetensors, writeSafetensors } from './safetensors.js';

/** The tensors of a module lie under this prefix in model files and checkpoints. */
const prefix = 'model.';

/**
 * Writes a module's parameters and buffers, by path, as a plain safetensors file that other programs can read.
 * @throws FileError when the path cannot be written
 */
export async function saveWeights(path: string, module: Module): Promise<void> {
  await writeSafetensors(path, new Map([...module.stateDict()].map(([name, tensor]) => [name, storedFromTensor(tensor)])));
}

/**
 * Loads a module's parameters and buffers from such a file, or from a model file or checkpoint. Names, shapes and types must all fit; nothing
 * changes unless they do.
 * @throws FileError that names the file and what does not fit
 */
export async function loadWeights(path: string, module: Module): Promise<void> {
  const { tensors, metadata } = await readSafetensors(path);
  const ofModel = metadata['tautgrad.kind'] === 'model' || metadata['tautgrad.kind'] === 'checkpoint';
  const state = new Map<string, Tensor>();
  try {
    for (const [name, stored] of tensors) {
      if (!ofModel) state.set(name, tensorFromStored(stored));
      else if (name.startsWith(prefix)) state.set(name.slice(prefix.length), tensorFromStored(stored));
    }
    module.loadStateDict(state);
  } catch (error) {
    throw new FileError(path, `Cannot use ${path}: its tensors do not fit the module (${(error as Error).message})`, { cause: error });
  } finally {
    for (const tensor of state.values()) tensor.dispose();
  }
}
