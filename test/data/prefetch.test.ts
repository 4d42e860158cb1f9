import { execFile, spawnSync } from 'node:child_process';
import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { deadLeaves, deadLeavesSource, folderSource, makeImage, writeImage } from '../../src/data/index.js';
import { distFile } from '../support/dist.js';
import { temporaryFolder } from '../support/folders.js';

// Worker threads need compiled modules.
const compiled = new URL('../../dist/data/prefetch.js', import.meta.url).href;
const { prefetchDeadLeaves, prefetchFolder } = (await import(compiled)) as typeof import('../../src/data/prefetch.js');

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
    await expect(prefetchFolder(small, { ahead: 0.5 })).rejects.toThrow('Expected a positive integer for ahead but received 0.5');
  });

  it('names the one file that is corrupt or has vanished', async () => {
    const corrupt = await folderOfImages();
    writeFileSync(join(corrupt, '3.png'), Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), Buffer.alloc(64)]));
    await expect(prefetchFolder(corrupt, { patchSize: 16 })).rejects.toMatchObject({ name: 'FileError', path: join(corrupt, '3.png') });
    // A link to nothing is listed but cannot be read: as a file that goes between the two.
    const vanished = await folderOfImages();
    symlinkSync(join(vanished, 'gone'), join(vanished, '9.png'));
    await expect(prefetchFolder(vanished, { patchSize: 16, workers: 3 })).rejects.toThrow(
      `Cannot read ${join(vanished, '9.png')}: there is no such file or folder`,
    );
  });

  it('reuses the memory of released batches, and only of those', async () => {
    const loader = await prefetchFolder(await folderOfImages(), { patchSize: 16, ahead: 2 });
    const kept = await loader.batch(0, 4);
    const copy = kept.clean.slice();
    const buffers = new Set<unknown>();
    for (let step = 1; step < 30; step++) {
      const batch = await loader.batch(step, 4);
      buffers.add(batch.clean.buffer);
      batch.release();
      batch.release();
    }
    // One in use and two ahead; a slot is asked for before the used one is given back.
    expect(buffers.size).toBeLessThanOrEqual(4);
    expect(buffers.has(kept.clean.buffer)).toBe(false);
    expect(kept.clean).toEqual(copy);
    await loader.close();
  });

  it('refuses what is awaited when it is closed or its signal aborts', async () => {
    const folder = await folderOfImages();
    const loader = await prefetchFolder(folder, { patchSize: 16 });
    const awaited = [loader.batch(0, 4), loader.batch(1, 4)];
    const closing = loader.close();
    for (const batch of awaited) await expect(batch).rejects.toThrow('Expected an open prefetch source but received a closed one');
    await closing;
    await loader.close();

    const controller = new AbortController();
    const second = await prefetchFolder(folder, { patchSize: 16, signal: controller.signal });
    const batch = second.batch(0, 4);
    controller.abort(new Error('enough'));
    await expect(batch).rejects.toThrow('enough');
    await expect(second.batch(1, 4)).rejects.toThrow('enough');
    // While the folder is being read, and before.
    const reading = new AbortController();
    const opening = prefetchFolder(folder, { patchSize: 16, signal: reading.signal });
    setImmediate(() => reading.abort(new Error('no more')));
    await expect(opening.then((source) => source.batch(0, 4))).rejects.toThrow('no more');
    await expect(prefetchFolder(folder, { signal: AbortSignal.abort(new Error('never')) })).rejects.toThrow('never');
  });

  it('works under flags that only fit the main program, and lets the process exit with work in flight', async () => {
    const folder = await folderOfImages();
    const script = `
      const { prefetchDeadLeaves, prefetchFolder } = await import(${JSON.stringify(compiled)});
      const loader = await prefetchFolder(${JSON.stringify(folder)}, { patchSize: 16, workers: 3, ahead: 8 });
      console.log((await loader.batch(0, 64)).shape.join());
      void loader.batch(100, 64).catch(() => {});
      if (process.argv[1] === 'exit') process.exit(0);
    `;
    for (const argument of ['exit', 'end']) {
      const { stdout, stderr } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script, argument], {
        timeout: 30_000,
      });
      expect([stdout.trim(), stderr]).toEqual(['64,1,16,16', '']);
    }
  });
});

describe('prefetchDeadLeaves', () => {
  it.each([1, 4])('gives the batches of deadLeavesSource with %i workers', async (workers) => {
    const options = { channels: 3, patchSize: 12, pictures: 3, pictureSize: 24, seed: 8, leaves: { minRadius: 2 } } as const;
    const source = deadLeavesSource(options);
    const loader = await prefetchDeadLeaves({ ...options, workers, ahead: 5 });
    expect(loader.description).toBe(source.description);
    for (const step of [0, 1, 2, 3, 9, 4]) {
      const batch = await loader.batch(step, 8);
      expect(Float32Array.from(batch.clean)).toEqual(source.batch(step, 8).clean);
      batch.release();
    }
    await loader.close();
  });

  it('refuses options outside their range, also those that only the painting sees', async () => {
    await expect(prefetchDeadLeaves({ pictures: 0 })).rejects.toThrow('Expected a positive integer for pictures but received 0');
    const loader = await prefetchDeadLeaves({ patchSize: 8, pictures: 2, pictureSize: 16, leaves: { textured: 2 }, workers: 3 });
    // Every worker that needs the picture says so: none waits for one that nobody paints.
    for (const step of [0, 1, 2]) await expect(loader.batch(step, 4)).rejects.toThrow('Expected 0 to 1 for textured but received 2');
    await loader.close();
  });

  it('a program that closes it while a batch is awaited goes on to its end', () => {
    const script = `
      import { data } from ${JSON.stringify(distFile('index.js'))};
      const source = await data.prefetchDeadLeaves({ patchSize: 16, pictures: 2, pictureSize: 32, workers: 1 });
      await source.batch(0, 2);
      source.batch(40, 400).catch(() => {});
      await source.close();
      console.log('closed');`;
    const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    expect([stdout, status]).toEqual(['closed\n', 0]);
  }, 60_000);

  it('can be closed while pictures are painted and waited for', async () => {
    const loader = await prefetchDeadLeaves({ patchSize: 64, pictures: 1, pictureSize: 1200, leaves: { minRadius: 1 }, workers: 3 });
    const batch = loader.batch(0, 4);
    const refused = expect(batch).rejects.toThrow('closed');
    await new Promise((resolve) => setTimeout(resolve, 30));
    await loader.close();
    await refused;
  });
});
