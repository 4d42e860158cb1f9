import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { deadLeaves, FileError } from '../../src/data/index.js';
import { applyDenoiser, DnCNN, DnCNNTV, describeDenoiser, loadDenoiser } from '../../src/models/tvlayers/index.js';
import { memory, zeros } from '../../src/tensor/index.js';
import { type JsonObject, writeCheckpoint } from '../../src/train/index.js';
import { temporaryFolder } from '../support/folders.js';

describe('loadDenoiser', () => {
  it.each([
    ['DnCNN', () => new DnCNN({ depth: 3, features: 4 })],
    ['DnCNNTV', () => new DnCNNTV({ channels: 3, depth: 2, features: 5, lambdaIn: 0.03 })],
    ['DnCNNTV with four sweeps', () => new DnCNNTV({ depth: 2, features: 5, iterations: 4 })],
  ])('gives back a %s that computes the same bits', async (_, make) => {
    const path = join(temporaryFolder(), 'm.safetensors');
    const model = make();
    await writeCheckpoint(path, { model: { ...describeDenoiser(model), state: model.stateDict() }, training: null });
    const { tensors } = memory();
    const loaded = await loadDenoiser(path);
    expect(loaded.channels).toBe(model.options.channels);
    const image = deadLeaves({ height: 24, width: 20, channels: loaded.channels });
    expect(applyDenoiser(loaded.model, image).data).toEqual(applyDenoiser(model, image).data);
    loaded.model.dispose();
    expect(memory().tensors).toBe(tensors);
    model.dispose();
  });

  it('refuses other models, unknown options and tensors that do not fit', async () => {
    const path = join(temporaryFolder(), 'm.safetensors');
    const model = new DnCNN({ depth: 2, features: 3 });
    const { name, options } = describeDenoiser(model);
    const { tensors } = memory();
    const refused = async (name: string, options: JsonObject, state = model.stateDict()): Promise<string> => {
      await writeCheckpoint(path, { model: { name, options, state }, training: null });
      const error = await loadDenoiser(path).then(
        () => null,
        (e: unknown) => e,
      );
      expect(error).toBeInstanceOf(FileError);
      return (error as FileError).message;
    };
    expect(await refused('toString', options)).toContain('expected a denoiser but received the model toString');
    expect(await refused(name, { ...options, depth: 1e9 })).toContain('are not understood (depth)');
    expect(await refused(name, { ...options, features: 4 })).toContain('its tensors do not fit the model');
    expect(memory().tensors).toBe(tensors);
    const extra = zeros([1]);
    expect(await refused(name, options, new Map([...model.stateDict(), ['extra', extra]]))).toContain('unexpected extra');
    extra.dispose();
    model.dispose();
  });
});
