import { readdir } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { FileError } from './file-error.js';
import { imageExtensions } from './image-io.js';

/**
 * The paths of the image files directly inside a folder, sorted by name (code-unit order: the same on every machine).
 * Hidden files and files with other extensions are passed over.
 *
 * @throws FileError when the folder does not exist, cannot be read, or holds no image
 */
export async function listImages(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') throw new FileError(folder, `Cannot read the folder ${folder}: it does not exist`);
    if (error.code === 'ENOTDIR') throw new FileError(folder, `Cannot read the folder ${folder}: it is not a folder`);
    throw FileError.fromSystem(folder, 'read', error);
  });
  const names = entries
    .filter((e) => !e.isDirectory() && !e.name.startsWith('.') && imageExtensions.includes(extname(e.name).toLowerCase()))
    .map((e) => e.name)
    .sort();
  if (names.length === 0) {
    throw new FileError(folder, `Expected image files (${imageExtensions.join(', ')}) in the folder ${folder} but found none`);
  }
  return names.map((name) => join(folder, name));
}
