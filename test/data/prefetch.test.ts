import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { deadLeaves, folderSource, makeImage, writeImage } from '../../src/data/index.js';
import { temporaryFolder } from '../support/folders.js';

// Worker threads need compiled modules.
const compiled = new URL('../../dist/data/prefetch.js', import.meta.url).href;
const { prefetchFolder } = (await import(compiled)) as typeof import('../../src/data/prefetch.js');

async function folderOfImages(): Promise<string> {
  const folder = temporaryFolder();
  for (let i = 0; i < 5; i++)
    await writeImage(join(folder, `${i}.png`), deadLeaves({ height: 24 + i, width: 30, channels: i % 2 ? 3 : 1, seed: i }));
  return folder;
}

describe('prefetchFolder', () => {
  it.each([1, 3])('gives the batches of folderSource with %i workers, also after a jump', async (workers) => {
    const folder = await folderOfImages();
    const options = { channels: 3, patchSize: 16, seed: 5 } as const;
    const source = await folderSource(folder, options);
    const loader = await prefetchFolder(folder, { ...options, workers, ahead: 2 });
    expect(loader.description).toBe(source.description);
    for (const [step, size] of [...Array.from({ length: 12 }, (_, k) => [k, 4] as const), [40, 4], [41, 4], [7, 3], [8, 3]] as const) {
      const batch = await loader.batch(step, size);
      const wanted = source.batch(step, size);
      expect(batch.shape).toEqual(wanted.shape);
      expect(batch.clean.buffer).toBeInstanceOf(SharedArrayBuffer);
      expect(Float32Array.from(batch.clean)).toEqual(wanted.clean);
      batch.release();
    }
    await loader.close();
    await expect(loader.batch(0, 4)).rejects.toThrow('Expected an open prefetch source but received a closed one');
  });

  it('says what folderSource says about bad folders and options', async () => {
    const small = temporaryFolder();
    await writeImage(join(small, 'a.png'), makeImage(1, 8, 40));
    const text = temporaryFolder();
    writeFileSync(join(text, 'a.png'), 'text');
    for (const folder of [join(small, 'no'), small, text]) {
      const sentence = await folderSource(folder, { patchSize: 16 }).catch((error: Error) => error.message);
      await expect(prefetchFolder(folder, { patchSize: 16 })).rejects.toMatchObject({ name: 'FileError', message: sentence });
    }
    await expect(prefetchFolder(small, { workers: 0 })).rejects.toThrow('Expected a positive integer for workers but received 0');
  });
});
