import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { deadLeaves, writeImage } from '../../src/data/index.js';
import { readSafetensors, writeSafetensors } from '../../src/train/index.js';
import { expectFailure, tautgrad } from '../support/command.js';
import { temporaryFolder } from '../support/folders.js';
import { folderOfImages } from '../support/image-folders.js';

describe('tautgrad train tvflow, eval tvflow', { timeout: 120_000 }, () => {
  it('trains, resumes, and scores beside doing nothing', async () => {
    const folder = temporaryFolder();
    const data = await folderOfImages(2);
    const args = ['train', 'tvflow', '--data', data, '--validation', data, '--evaluate-every', '3', '--batch', '2', '--patch', '16'];
    const trained = await tautgrad([...args, '--steps', '6', '--out', 'run', '--json'], { cwd: folder });
    expect(trained.stderr).toContain('TVflowNET with relu and softplus (14659 weights)');
    expect(trained.code).toBe(0);
    expect(JSON.parse(trained.stdout)).toMatchObject({
      steps: 6,
      model: 'run/model.safetensors',
      scores: { rows: [['u(t) = f'], ['TVflowNET']].map((r) => [...r, expect.any(Number), expect.any(Number)]) },
    });
    const log = readFileSync(join(folder, 'run/log.jsonl'), 'utf8').trim().split('\n');
    expect(JSON.parse(log[5] as string)).toMatchObject({
      step: 6,
      metrics: { temporal: expect.any(Number), tv: expect.any(Number), initial: expect.any(Number), 'validation.psnr': expect.any(Number) },
    });
    const page = readFileSync(join(folder, 'run/report.html'), 'utf8');
    expect(page).toContain('total-variation flow');
    expect(page).toContain('model-driven, t = 0.3');
    const model = await readSafetensors(join(folder, 'run/model.safetensors'));
    expect(model.tensors.get('model.layers.7.weight')!.shape).toEqual([3, 16, 3, 3]);

    const refused = await tautgrad(['train', 'tvflow', '--out', 'run', '--resume', '--activations', 'relu'], { cwd: folder });
    expect(expectFailure(refused, 2)).toContain('Expected --activations relu+softplus, as in the run to resume, but received relu');
    expect((await tautgrad(['train', 'tvflow', '--out', 'run', '--resume'], { cwd: folder })).code).toBe(0);

    const evaluation = ['eval', 'tvflow', '--model', 'run/model.safetensors', '--data', data, '--points', '4'];
    const scored = await tautgrad([...evaluation, '--size', '24', '--json'], { cwd: folder });
    expect(scored.code).toBe(0);
    const scores = JSON.parse(scored.stdout) as { psnr: number; images: { psnr: number; identityPsnr: number }[]; deviation: object };
    expect(scores.images).toHaveLength(2);
    expect(scores.psnr).toBeCloseTo((scores.images[0]!.psnr + scores.images[1]!.psnr) / 2, 9);
    const table = await tautgrad([...evaluation, '--size', '16', '--channels', '3', '--against', 'joint'], { cwd: folder });
    expect(
      table.stdout
        .trim()
        .split('\n')
        .map((line) => line.split(/ {2,}/)[0]),
    ).toEqual(['image', '0.png', '1.png', 'mean', '± (images)']);
  });

  it('refuses what does not fit', async () => {
    const folder = temporaryFolder();
    const fails = async (args: string[], code: 1 | 2, sentence: string): Promise<void> => {
      expect(expectFailure(await tautgrad(args, { cwd: folder }), code)).toContain(sentence);
    };
    await fails(['train', 'tvflow', '--activations', 'tanh'], 2, 'activations');
    await fails(['train', 'tvflow', '--tv-weight', '-1'], 2, 'Expected a number of at least 0');
    await fails(
      ['train', 'tvflow', '--batch', '8', '--times-per-image', '3', '--steps', '1'],
      2,
      'Expected a --batch that --times-per-image divides',
    );
    await fails(['eval', 'tvflow', '--data', '.'], 2, "required option '--model <file>'");
    await fails(['eval', 'tvflow', '--model', 'none.safetensors', '--data', '.'], 1, 'Expected image files');
    await fails(['eval', 'tvflow', '--model', 'm', '--data', '.', '--points', '1'], 2, 'Expected at least 2 for --points but received 1');
    await writeImage(join(folder, 'tiny.png'), deadLeaves({ height: 6, width: 9, channels: 1, seed: 1 }));
    await fails(['eval', 'tvflow', '--model', 'none.safetensors', '--data', '.'], 1, 'none.safetensors');
    await writeSafetensors(join(folder, 'other.safetensors'), new Map([['x', { dtype: 'F32', shape: [1], data: new Float32Array(1) }]]));
    await fails(['eval', 'tvflow', '--model', 'other.safetensors', '--data', '.'], 1, 'expected a network of "tautgrad train tvflow"');
    await fails(['denoise', 'tiny.png', 'out.png', '--model', 'other.safetensors'], 1, 'is not a model or checkpoint of tautgrad');
  });
});
