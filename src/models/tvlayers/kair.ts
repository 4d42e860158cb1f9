/** DnCNN weights as the KAIR toolbox publishes them. */
import { FileError } from '../../data/index.js';
import { neg } from '../../ops/index.js';
import { Tensor } from '../../tensor/index.js';
import type { SafetensorsFile } from '../../train/index.js';
import { DnCNN } from './dncnn-tv.js';

const NAME = /^model\.(\d+)\.(weight|bias)$/;

/** True for files whose tensors are all named like `model.4.weight`. */
export function isKairDnCNN({ tensors }: SafetensorsFile): boolean {
  return tensors.size > 0 && [...tensors.keys()].every((name) => NAME.test(name));
}

/**
 * The network of such a file: 3×3 convolutions at even positions with ReLUs between, batch norm folded in, predicting the noise.
 * @throws FileError when the tensors are not those of a DnCNN
 */
export function importKairDnCNN(path: string, { tensors }: SafetensorsFile): DnCNN {
  const shapeOf = (name: string): readonly number[] => tensors.get(name)?.shape ?? [];
  const depth = tensors.size / 2;
  const [features = 0, channels = 0] = shapeOf('model.0.weight');
  if (!Number.isInteger(depth) || depth < 2 || (channels !== 1 && channels !== 3) || features < 1) {
    throw new FileError(path, `Cannot use ${path}: its tensors are not those of a DnCNN without batch norm`);
  }
  const model = new DnCNN({ channels, features, depth });
  const state = new Map<string, Tensor>();
  try {
    for (const [name, { data, shape }] of tensors) {
      if (!(data instanceof Float32Array)) throw new RangeError(`expected float32 for ${name}`);
      const value = Tensor.from(data, [...shape]);
      const [, position, kind] = name.match(NAME) as unknown as [string, string, string];
      // KAIR subtracts the predicted noise; this DnCNN adds its residual.
      state.set(`body.layers.${position}.${kind}`, Number(position) === 2 * (depth - 1) ? neg(value) : value);
    }
    model.loadStateDict(state);
    return model;
  } catch (error) {
    model.dispose();
    throw new FileError(path, `Cannot use ${path}: its tensors do not fit a DnCNN (${(error as Error).message})`, { cause: error });
  } finally {
    for (const value of state.values()) value.dispose();
  }
}
