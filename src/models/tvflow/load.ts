/** TVflowNET in model files. */
import { z } from 'zod';
import { FileError } from '../../data/index.js';
import { disposeCheckpoint, type JsonObject, readCheckpoint, readSafetensors, type SafetensorsFile } from '../../train/index.js';
import { TVFlowNet } from './network.js';

/** The name in model files. */
export const MODEL_NAME = 'tvflow.TVFlowNet';

const optionsSchema = z.object({
  activations: z.enum(['relu+softplus', 'relu', 'softplus']),
  padding: z.enum(['zero', 'reflect']),
  phiBoundary: z.enum(['natural', 'frame']),
  normalizePhi: z.boolean(),
  init: z.enum(['he-uniform', 'orthogonal']),
  centered: z.boolean(),
  scale: z.number().positive(),
});

/** The record of a network for its checkpoints: class name and constructor options. */
export function describeFlowNet(network: TVFlowNet): { name: string; options: JsonObject } {
  return { name: MODEL_NAME, options: { ...network.options } };
}

/** True for model files and checkpoints of `TVFlowNet`. */
export function isFlowNetFile({ metadata }: SafetensorsFile): boolean {
  const { 'tautgrad.model': model = '' } = metadata;
  return model.includes(`"${MODEL_NAME}"`);
}

/**
 * The network of a model file or checkpoint.
 * @throws FileError when the file is damaged, holds another network, or has weights that are not finite
 */
export async function loadFlowNet(path: string): Promise<TVFlowNet> {
  const file = await readSafetensors(path);
  if (!isFlowNetFile(file)) {
    throw new FileError(path, `Cannot use ${path}: expected a network of "tautgrad train tvflow" but it holds ${contentOf(file)}`);
  }
  const { model, ...rest } = await readCheckpoint(path);
  try {
    const parsed = optionsSchema.safeParse(model.options);
    if (!parsed.success)
      throw new FileError(path, `Cannot use ${path}: its options are not understood (${parsed.error.issues[0]?.path.join('.')})`);
    const network = new TVFlowNet(parsed.data);
    try {
      network.loadStateDict(model.state);
      for (const [name, value] of network.stateDict()) {
        const bad = value.dataSync().find((v) => !Number.isFinite(v));
        if (bad !== undefined) throw new RangeError(`expected finite numbers for ${name} but received ${bad}`);
      }
    } catch (error) {
      network.dispose();
      throw new FileError(path, `Cannot use ${path}: its tensors do not fit TVflowNET (${(error as Error).message})`, { cause: error });
    }
    return network;
  } finally {
    disposeCheckpoint({ model, ...rest });
  }
}

/** What a file of another kind holds, for the sentence that refuses it. */
function contentOf({ metadata, tensors }: SafetensorsFile): string {
  const name = /"name":\s*"([^"]*)"/.exec(metadata['tautgrad.model'] ?? '')?.[1];
  if (name !== undefined) return `the model ${name}`;
  const [first] = tensors.keys();
  return first === undefined ? 'no tensors' : `other tensors (${first}…)`;
}
