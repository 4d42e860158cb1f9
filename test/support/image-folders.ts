import { join } from 'node:path';
import { deadLeaves, writeImage } from '../../src/data/index.js';
import { temporaryFolder } from './folders.js';

/** A fresh folder of synthetic pictures `0.png`, `1.png`, …; the pictures are a function of the first seed. */
export async function folderOfImages(count: number, channels: 1 | 3 = 1, side = 40, firstSeed = 0): Promise<string> {
  const folder = temporaryFolder();
  for (let i = 0; i < count; i++) {
    await writeImage(join(folder, `${i}.png`), deadLeaves({ height: side, width: side + 4, channels, seed: firstSeed + i, minRadius: 3 }));
  }
  return folder;
}
