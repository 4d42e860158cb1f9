/** Checkpoints of the family by their tensors' shapes, and what is refused. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { models, ops, seed, tidy, train } from '../../../src/index.js';
import { normal, relativeError } from '../../support/numeric.js';

const folder = mkdtempSync(join(tmpdir(), 'tautgrad-tdv-'));
afterAll(() => rmSync(folder, { recursive: true }));

type Stored = Map<string, { dtype: 'F32'; shape: number[]; data: Float32Array }>;

/** The tensors of a random network under their published names; the scalars with shape [1], as in the authors' files. */
function published(
  options: models.tdv.NetworkOptions,
  scalarShape: number[] = [1],
): { tensors: Stored; network: models.tdv.VariationalNetwork } {
  seed(5);
  const network = new models.tdv.VariationalNetwork(options);
  const tensors: Stored = new Map();
  for (const [name, value] of network.stateDict()) {
    tensors.set(name, {
      dtype: 'F32',
      shape: value.rank === 0 ? scalarShape : [...value.shape],
      data: value.toTypedArray() as Float32Array,
    });
  }
  return { tensors, network };
}

/** A file of other origin: no metadata of this package. */
async function write(name: string, tensors: Stored, metadata?: Record<string, string>): Promise<string> {
  const { writeFile } = await import('node:fs/promises');
  const header: Record<string, unknown> = metadata ? { __metadata__: metadata } : {};
  const parts: Buffer[] = [];
  let offset = 0;
  for (const [key, { dtype, shape, data }] of tensors) {
    header[key] = { dtype, shape, data_offsets: [offset, offset + data.byteLength] };
    parts.push(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    offset += data.byteLength;
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.byteLength));
  const path = join(folder, name);
  await writeFile(path, Buffer.concat([length, json, ...parts]));
  return path;
}

describe('loading networks of total deep variation', () => {
  for (const [options, shape] of [
    [{ channels: 1, features: 4, macroBlocks: 1 }, [1]],
    [{ channels: 3, features: 5, macroBlocks: 2 }, []],
    [{ channels: 1, features: 3, macroBlocks: 3, scheme: 'paper' }, [1]],
  ] as const) {
    it(`published weights ${JSON.stringify(options)}`, async () => {
      const { tensors, network } = published(options, [...shape]);
      const path = await write('published.safetensors', tensors, { config: '{"S": 4, "R": {"type": "tdv", "config": {"num_scales": 3}}}' });
      const loaded = await models.tdv.loadNetwork(path);
      expect(loaded.options).toEqual({ nu: 1, steps: 4, scheme: 'released', sigma: 25 / 255, scale: 1, ...options });
      for (const [name, value] of loaded.stateDict())
        expect([...value.toTypedArray()]).toEqual([...network.stateDict().get(name)!.toTypedArray()]);
      tidy(() => {
        // Odd sizes, another noise level, 15 of 255: the scheme on data scaled by 25 / 15.
        const z = ops.cast(normal([2, options.channels, 11, 7], 1), 'float32');
        const x = loaded.run(z, { sigma: 15 / 255 });
        expect(relativeError(x, ops.mul(loaded.run(ops.mul(z, 25 / 15)), 15 / 25))).toBeLessThan(3e-6);
        expect(relativeError(loaded.R.gradient(z), loaded.R.gradient(z, 'engine'))).toBeLessThan(1e-5);
      });
      loaded.dispose();
      network.dispose();
    });
  }

  it('model files of this package, with every option', async () => {
    const { network } = published({ channels: 1, features: 3, macroBlocks: 1, nu: 9, steps: 5, scheme: 'paper', sigma: 0.2, scale: 3 });
    const path = join(folder, 'model.safetensors');
    await train.writeCheckpoint(path, { model: { ...models.tdv.describeNetwork(network), state: network.stateDict() }, training: null });
    const loaded = await models.tdv.loadNetwork(path);
    expect(loaded.options).toEqual(network.options);
    tidy(() => {
      const z = normal([1, 1, 9, 9], 1);
      const single = models.tdv.denoiseImage(loaded, { channels: 1, height: 9, width: 9, data: Float32Array.from(z.toTypedArray()) });
      expect(single.data.every(Number.isFinite)).toBe(true);
    });
    loaded.dispose();
    network.dispose();
  });

  const refused: [string, (tensors: Stored) => void, RegExp, Record<string, string>?][] = [
    ['another family', (t) => t.delete('R.K1.weight'), /expected the weights of total deep variation/],
    [
      'NaN weights',
      (t) => t.get('R.mb.0.mb.1.0.conv2.weight')!.data.fill(Number.NaN, 7, 8),
      /finite numbers for R\.mb\.0\.mb\.1\.0\.conv2\.weight .* received NaN/,
    ],
    ['infinite weights', (t) => t.get('T')!.data.fill(Number.POSITIVE_INFINITY), /finite numbers for T .* received Infinity/],
    ['a negative stopping time', (t) => t.get('T')!.data.fill(-1), /a number >= 0 for T but received -1/],
    ['a missing tensor', (t) => t.delete('R.mb.0.conv_up.1.weight'), /missing R\.mb\.0\.conv_up\.1\.weight/],
    ['one tensor too many', (t) => t.set('R.extra', { dtype: 'F32', shape: [1], data: new Float32Array(1) }), /unexpected R\.extra/],
    [
      'a kernel of another size',
      (t) => t.set('R.KN.weight', { dtype: 'F32', shape: [1, 5, 1, 1], data: new Float32Array(5) }),
      /\[1, 4, 1, 1\] for R\.KN\.weight/,
    ],
    ['no macro-blocks', (t) => [...t.keys()].filter((k) => k.includes('.mb.')).forEach((k) => t.delete(k)), /no macro-blocks/],
    [
      'another architecture',
      () => {},
      /describes another network than this family's \(R\.config\.multiplier\)/,
      { config: '{"R": {"config": {"multiplier": 2}}}' },
    ],
    ['a damaged config', () => {}, /its config describes another network/, { config: 'not JSON' }],
  ];
  for (const [what, change, message, metadata] of refused) {
    it(`refuses ${what}`, async () => {
      const { tensors, network } = published({ features: 4, macroBlocks: 1 });
      network.dispose();
      change(tensors);
      const path = await write('refused.safetensors', tensors, metadata);
      await expect(models.tdv.loadNetwork(path)).rejects.toThrow(message);
    });
  }
});
