import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, it } from 'vitest';
import { Random } from '../../src/data/index.js';
import { CHECKPOINT_FILE, disposeCheckpoint, LOG_FILE, readCheckpoint, readRunLog } from '../../src/train/index.js';
import { distFile } from '../support/dist.js';
import { temporaryFolder } from '../support/folders.js';

it('training killed 20 times at random moments always leaves a checkpoint to resume from', { timeout: 240_000 }, async () => {
  const folder = temporaryFolder();
  const checkpoint = join(folder, CHECKPOINT_FILE);
  // A run that writes a checkpoint after every step, so that most kills fall into the writing of one.
  const program = `
    import { existsSync } from 'node:fs';
    import { data, models, seed } from ${JSON.stringify(pathToFileURL(distFile('index.js')).href)};
    const { DnCNNTV, denoisingTrainer, describeDenoiser } = models.tvlayers;
    seed(1);
    const model = new DnCNNTV({ depth: 4, features: 48 });
    const source = data.memorySource([data.deadLeaves({ height: 32, width: 32 })], { patchSize: 8 });
    const trainer = denoisingTrainer({
      model, description: describeDenoiser(model), source, sigma: 0.1, batchSize: 1, steps: 1e6,
      folder: ${JSON.stringify(folder)}, checkpointSeconds: 0,
    });
    if (existsSync(${JSON.stringify(checkpoint)})) await trainer.resume();
    trainer.once('checkpoint', () => process.stdout.write('saved'));
    await trainer.run();`;
  const random = new Random(11);
  let last = 0;
  for (let kill = 0; kill < 20; kill++) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    const closed = once(child, 'close');
    const [first] = await Promise.race([once(child.stdout, 'data'), closed]);
    expect(String(first)).toBe('saved');
    await new Promise((resolve) => setTimeout(resolve, random.uniform(0, 100)));
    child.kill('SIGKILL');
    await closed;
    const read = await readCheckpoint(checkpoint);
    const { step } = read.training!.state as { step: number };
    expect(step).toBeGreaterThan(last);
    expect((await readRunLog(join(folder, LOG_FILE), step)).map((record) => record.step)).toEqual(
      Array.from({ length: step }, (_, i) => i + 1),
    );
    disposeCheckpoint(read);
    last = step;
  }
  // What a kill leaves of unfinished files does not disturb anything.
  expect(readdirSync(folder)).toContain(CHECKPOINT_FILE);
});
