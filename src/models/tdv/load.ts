/** Variational networks from files: the published weights of the family, and the package's own model files. */
import { z } from 'zod';
import { FileError } from '../../data/index.js';
import { formatShape, Tensor, tidy } from '../../tensor/index.js';
import { disposeCheckpoint, type JsonObject, readCheckpoint, readSafetensors, type SafetensorsFile } from '../../train/index.js';
import { type NetworkOptions, VariationalNetwork } from './network.js';

/** The name in model files. */
export const MODEL_NAME = 'tdv.VariationalNetwork';

const optionsSchema = z.object({
  channels: z.int().min(1).max(64),
  features: z.int().min(1).max(4096),
  macroBlocks: z.int().min(1).max(64),
  nu: z.number().positive(),
  steps: z.int().min(1).max(100_000),
  scheme: z.enum(['released', 'paper']),
  sigma: z.number().positive(),
  scale: z.int().min(1).max(64).default(1),
});

/** What the published files say of themselves beside the tensors; everything in it may be missing. */
const configSchema = z.object({
  S: z.int().min(1).max(100_000).optional(),
  R: z
    .object({
      type: z.literal('tdv').optional(),
      config: z.object({ num_scales: z.literal(3).optional(), multiplier: z.literal(1).optional() }),
    })
    .optional(),
  D: z.object({ config: z.object({ use_prox: z.literal(true).optional() }).optional() }).optional(),
});

export type LoadOptions = Pick<NetworkOptions, 'nu' | 'steps' | 'sigma'>;

/** The record of a network for its checkpoints: class name and constructor options. */
export function describeNetwork(network: VariationalNetwork): { name: string; options: JsonObject } {
  return { name: MODEL_NAME, options: { ...network.options } };
}

/** True for files that look like published weights of this family: `R.K1.weight` is among their tensors. */
export function isPublishedTDV({ tensors, metadata }: SafetensorsFile): boolean {
  return metadata['tautgrad.kind'] === undefined && tensors.has('R.K1.weight');
}

/** True for model files and checkpoints of `VariationalNetwork`. */
export function isNetworkFile({ metadata }: SafetensorsFile): boolean {
  const { 'tautgrad.model': model = '' } = metadata;
  return model.includes(`"${MODEL_NAME}"`);
}

/**
 * The network of a file: published weights (safetensors with the names of the authors' code), whatever their channels, features and number
 * of macro-blocks, or a model file or checkpoint of this package.
 * @param options what published files do not say: ν (default 1), the steps (default: the file's config, or 10) and the noise level of the
 *   training (default 25 / 255)
 * @throws FileError when the file is damaged, holds something else, or has weights that are not finite
 */
export async function loadNetwork(path: string, options: LoadOptions = {}): Promise<VariationalNetwork> {
  const file = await readSafetensors(path);
  if (isPublishedTDV(file)) return fromPublished(path, file, options);
  if (isNetworkFile(file)) return fromCheckpoint(path);
  throw new FileError(
    path,
    `Cannot use ${path}: expected the weights of total deep variation (R.K1.weight, R.mb.0…) but it has none of them`,
  );
}

async function fromCheckpoint(path: string): Promise<VariationalNetwork> {
  const checkpoint = await readCheckpoint(path);
  try {
    const parsed = optionsSchema.safeParse(checkpoint.model.options);
    if (!parsed.success) {
      throw new FileError(path, `Cannot use ${path}: its options are not understood (${parsed.error.issues[0]?.path.join('.')})`);
    }
    return withState(path, parsed.data, checkpoint.model.state);
  } finally {
    disposeCheckpoint(checkpoint);
  }
}

function fromPublished(path: string, { tensors, metadata }: SafetensorsFile, options: LoadOptions): VariationalNetwork {
  const refuse = (what: string): never => {
    throw new FileError(path, `Cannot use ${path}: ${what}`);
  };
  const config = publishedConfig(path, metadata['config']);
  const [features = 0, channels = 0] = tensors.get('R.K1.weight')?.shape ?? [];
  if (features < 1 || channels < 1) refuse('its R.K1.weight is not a kernel [features, channels, 3, 3]');
  const numbers = [...tensors.keys()].flatMap((name) => /^R\.mb\.(\d+)\./.exec(name)?.[1] ?? []);
  const macroBlocks = new Set(numbers).size;
  if (macroBlocks < 1) refuse('it has no macro-blocks (R.mb.0…)');
  const state = new Map<string, Tensor>();
  return tidy(() => {
    for (const [name, { data, shape, dtype }] of tensors) {
      if (!(data instanceof Float32Array || data instanceof Float64Array))
        refuse(`expected floating-point numbers for ${name} but it has ${dtype}`);
      // The two scalars come with shape [] or [1].
      const scalar = (name === 'T' || name === 'lmbda') && data.length === 1;
      state.set(name, Tensor.from(Float32Array.from(data as Float32Array), scalar ? [] : [...shape]));
    }
    return withState(
      path,
      {
        channels,
        features,
        macroBlocks,
        nu: options.nu ?? 1,
        steps: options.steps ?? config.S ?? 10,
        scheme: tensors.has('lmbda') ? 'released' : 'paper',
        sigma: options.sigma ?? 25 / 255,
        scale: 1,
      },
      state,
    );
  });
}

function publishedConfig(path: string, text: string | undefined): z.infer<typeof configSchema> {
  if (text === undefined) return {};
  try {
    return configSchema.parse(JSON.parse(text));
  } catch (error) {
    const where = error instanceof z.ZodError ? ` (${error.issues[0]?.path.join('.')})` : '';
    throw new FileError(path, `Cannot use ${path}: its config describes another network than this family's${where}`, { cause: error });
  }
}

/** A network with these tensors. Nothing is kept when they do not fit. */
function withState(path: string, options: Required<NetworkOptions>, state: ReadonlyMap<string, Tensor>): VariationalNetwork {
  const network = new VariationalNetwork(options);
  try {
    network.loadStateDict(state);
    for (const [name, value] of network.stateDict()) {
      const bad = value.dataSync().findIndex((v) => !Number.isFinite(v));
      if (bad >= 0)
        throw new RangeError(`expected finite numbers for ${name} ${formatShape(value.shape)} but received ${value.dataSync()[bad]}`);
    }
    for (const name of ['T', 'lmbda']) {
      const value = network.stateDict().get(name)?.item() ?? 0;
      if (value < 0) throw new RangeError(`expected a number >= 0 for ${name} but received ${value}`);
    }
    return network;
  } catch (error) {
    network.dispose();
    throw new FileError(path, `Cannot use ${path}: its tensors do not fit total deep variation (${(error as Error).message})`, {
      cause: error,
    });
  }
}
