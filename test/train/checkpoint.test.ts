import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { memory, randn, seed } from '../../src/tensor/index.js';
import { type Checkpoint, disposeCheckpoint, readCheckpoint, writeCheckpoint } from '../../src/train/checkpoint.js';
import { writeSafetensors } from '../../src/train/safetensors.js';
import { temporaryFolder } from '../support/folders.js';

function example(): Checkpoint {
  seed(1);
  return {
    model: { name: 'test.Model', options: { depth: 3, sizes: [1, 2] }, state: new Map([['a.weight', randn([2, 3])]]) },
    training: {
      optimizer: { step: 7, tensors: new Map([['m.a.weight', randn([2, 3], 'float64')]]) },
      state: { step: 7, random: { seed: 1, counter: 99 }, losses: [0.5, null] },
    },
  };
}

const numbers = (cp: Checkpoint) =>
  [cp.model.state, cp.training?.optimizer.tensors ?? new Map()].map((m) =>
    [...m].map(([name, t]) => [name, t.dtype, [...t.shape], [...t.dataSync()]]),
  );

describe('checkpoints', () => {
  it('come back bit for bit, with and without the training state', async () => {
    const path = join(temporaryFolder(), 'c.safetensors');
    const full = example();
    for (const written of [full, { ...full, training: null }]) {
      await writeCheckpoint(path, written);
      const read = await readCheckpoint(path);
      expect(numbers(read)).toEqual(numbers(written));
      expect({ ...read.model, state: 0 }).toEqual({ ...written.model, state: 0 });
      expect(read.training?.state).toEqual(written.training?.state);
      expect(read.training?.optimizer.step).toBe(written.training?.optimizer.step);
      disposeCheckpoint(read);
    }
    disposeCheckpoint(full);
  });

  it('free their tensors', async () => {
    const path = join(temporaryFolder(), 'c.safetensors');
    const cp = example();
    await writeCheckpoint(path, cp);
    const { tensors, bytes } = memory();
    for (let i = 0; i < 10; i++) disposeCheckpoint(await readCheckpoint(path));
    expect(memory()).toMatchObject({ tensors, bytes });
    disposeCheckpoint(cp);
  });

  it('refuse numbers that JSON would lose', async () => {
    const path = join(temporaryFolder(), 'c.safetensors');
    const cp = example();
    const bad = { ...cp, model: { ...cp.model, options: { lambda: NaN } } };
    await expect(writeCheckpoint(path, bad)).rejects.toThrow('Expected a finite number for lambda but received NaN');
    disposeCheckpoint(cp);
  });

  it('refuse other files with one sentence', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'c.safetensors');
    await writeSafetensors(path, new Map());
    await expect(readCheckpoint(path)).rejects.toThrow(`Cannot use ${path}: it holds tensors, but it is not a model`);
    await writeSafetensors(path, new Map(), { 'tautgrad.kind': 'model', 'tautgrad.version': '2' });
    await expect(readCheckpoint(path)).rejects.toThrow('expected format version 1 but received 2');
    await writeSafetensors(path, new Map(), { 'tautgrad.kind': 'model', 'tautgrad.model': '{"name":3}' });
    await expect(readCheckpoint(path)).rejects.toThrow('its description of the model is not understood');
    writeFileSync(path, 'text');
    await expect(readCheckpoint(path)).rejects.toThrow('too short');
  });
});
