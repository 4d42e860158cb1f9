/** The certified inputs and outputs of the published gray network, beside the repository. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { models, nn, ops, type Tensor, tensor, tidy, train } from '../../../src/index.js';
import { sharedFolder } from '../../support/folders.js';
import { values } from '../../support/numeric.js';

const folder = sharedFolder('vectors', 'tdv') ?? '';
const weights = sharedFolder('data', 'weights') ?? '';
const present = folder !== '' && weights !== '';
if (!present) console.warn('skipped: there are no certified vectors in ../shared/vectors/tdv');

/** A float32 array of NumPy's .npy format. */
function npy(name: string): Tensor {
  const bytes = readFileSync(join(folder, `${name}.npy`));
  const start = 10 + bytes.readUInt16LE(8);
  const header = bytes.subarray(10, start).toString('latin1');
  const shape = (/'shape': \(([^)]*)\)/.exec(header)?.[1] ?? '').split(',').flatMap((n) => (n.trim() === '' ? [] : [Number(n)]));
  expect(header).toContain("'<f4'");
  return tensor(new Float32Array(bytes.buffer.slice(bytes.byteOffset + start, bytes.byteOffset + bytes.byteLength)), { shape });
}

const batched = (x: Tensor): Tensor => ops.reshape(x, [1, ...x.shape]);
function worst(a: Tensor, b: Tensor): number {
  const [p, q] = [values(a), values(b)];
  expect(p.length).toBe(q.length);
  return p.reduce((m, v, i) => Math.max(m, Math.abs(v - (q[i] as number))), 0);
}

describe.skipIf(!present)('certified vectors of total deep variation', () => {
  let network: models.tdv.VariationalNetwork;
  beforeAll(async () => {
    network = await models.tdv.loadNetwork(join(weights, 'tdv3-25-gray.safetensors'));
  });
  afterAll(() => network.dispose());

  for (const name of ['castle_gray', 'cameraman']) {
    it(`${name}: states, output, gradient and energy`, () => {
      tidy(() => {
        const manifest = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as Record<string, { energy_sum_f64: number }>;
        const noisy = batched(npy(`${name}_noisy`));
        const states = network.states(noisy);
        const expected = npy(`${name}_steps`);
        expect(states.length).toBe(expected.shape[0]);
        expect(worst(ops.concat(states, 0), expected)).toBeLessThan(1e-5);
        expect(worst(network.forward(noisy), npy(`${name}_out`))).toBeLessThan(1e-5);
        const gradient = npy(`${name}_gradR`);
        expect(worst(network.R.gradient(noisy), gradient)).toBeLessThan(1e-4);
        expect(worst(network.R.gradient(noisy, 'engine'), gradient)).toBeLessThan(1e-4);
        expect(worst(network.R.forward(noisy), npy(`${name}_energymap`))).toBeLessThan(1e-5);
        const total = (manifest[name] as { energy_sum_f64: number }).energy_sum_f64;
        expect(Math.abs(network.R.energy(noisy).item() / total - 1)).toBeLessThan(1e-6);
      });
    });
  }

  it('training gradients of all 46 tensors', async () => {
    const expected = await train.readSafetensors(join(folder, 'train_grads.safetensors'));
    const manifest = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as { train: { J: number } };
    const short = await models.tdv.loadNetwork(join(weights, 'tdv3-25-gray.safetensors'), { steps: 3 });
    for (const checkpoint of [true, false]) {
      tidy(() => {
        const [noisy, clean] = [npy('train_noisy'), npy('train_clean')];
        const { value, gradients } = nn.valueAndGrad(short, () =>
          ops.mul(ops.sum(ops.square(ops.sub(short.run(noisy, { checkpoint }), clean))), 1 / 4),
        );
        expect(Math.abs(value.item() / manifest.train.J - 1)).toBeLessThan(1e-5);
        expect(gradients.size).toBe(46);
        const errors: Record<string, number> = {};
        for (const [name, gradient] of gradients) {
          const want = Array.from(expected.tensors.get(name)!.data as Float32Array);
          const norm = Math.hypot(...want);
          errors[name] = Math.hypot(...values(gradient).map((v, i) => v - (want[i] as number))) / norm;
        }
        expect(Math.max(...Object.values(errors))).toBeLessThan(1e-4);
        expect(errors['T']).toBeLessThan(1e-5);
        expect(errors['lmbda']).toBeLessThan(1e-5);
      });
    }
    short.dispose();
  });

  it('derivative in T of the single-T scheme (T = 0.02, S = 3)', () => {
    const paper = new models.tdv.VariationalNetwork({ steps: 3, scheme: 'paper' });
    tidy(() => {
      const state = new Map([...network.stateDict()].filter(([name]) => name !== 'lmbda'));
      state.set('T', tensor(0.02));
      paper.loadStateDict(state);
      const [noisy, clean] = [npy('train_noisy'), npy('train_clean')];
      const { gradients } = nn.valueAndGrad(paper, () => ops.mul(ops.sum(ops.square(ops.sub(paper.run(noisy), clean))), 1 / 4));
      expect(Math.abs((gradients.get('T') as Tensor).item() / 56.636683 - 1)).toBeLessThan(1e-5);
      const adjoint = models.tdv.adjointStates(paper, noisy, clean);
      expect(Math.abs(-models.tdv.stoppingCondition(paper, adjoint) / 0.02 / 56.636683 - 1)).toBeLessThan(1e-4);
    });
    paper.dispose();
  });

  it('projection of K', () => {
    tidy(() => {
      expect(worst(models.tdv.projectK(npy('projK_in')), npy('projK_out'))).toBeLessThan(1e-6);
    });
  });
});
